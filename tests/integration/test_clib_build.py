"""The C library as a package: compilers, symbols, what is installed, the ABI, the fuzzer."""

from __future__ import annotations

import json
import os
import platform
import re
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

import clibrary

if TYPE_CHECKING:
    from pathlib import Path

HEADER = clibrary.SOURCE / "scanside.h"
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")

HOST = """\
#include <scanside.h>
#include <stdio.h>
int main(void) { return printf("%u\\n", (unsigned)scanside_version()) < 0; }
"""

EXAMPLES = clibrary.SOURCE / "examples"


def declared() -> set[str]:
    """The functions of the header."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)
    return set(re.findall(r"\b(scanside_\w+)\(", text))


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_everything_compiles_without_a_warning(compiler: str) -> None:
    for target in ("libscanside.so", "infer", "infer_cpp", "bench", "scenarios"):
        assert clibrary.build(target, "plain", compiler).exists()


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize(
    ("language", "standard", "header"),
    [("c", "c99", "scanside.h"), ("c", "c11", "scanside.h"), ("c++", "c++17", "scanside.h"),
     ("c++", "c++17", "scanside.hpp")],
)  # fmt: skip
def test_the_headers_stand_alone(
    tmp_path: Path, compiler: str, language: str, standard: str, header: str
) -> None:
    source = tmp_path / "alone.c"
    source.write_text(f'#include "{header}"\n#include "{header}"\n')
    done = clibrary.run(
        clibrary.tool(compiler), "-x", language, f"-std={standard}", *STRICT,
        "-I", clibrary.SOURCE, "-fsyntax-only", source,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_header_knows_no_posix() -> None:
    included = re.findall(r"#include (\S+)", HEADER.read_text())
    assert included == ["<stddef.h>", "<stdint.h>"]
    assert not re.search(r"\b(pid_t|ssize_t|off_t|timespec|fd_set)\b", HEADER.read_text())


def test_the_symbols_are_those_of_the_header_and_no_others() -> None:
    listed = clibrary.run(clibrary.tool("nm"), "-D", "--defined-only", _library())
    found = {line.split()[2].split("@")[0] for line in listed.stdout.splitlines()}
    assert found - {"SCANSIDE_0"} == declared()
    script = (clibrary.SOURCE / "scanside.map").read_text()
    assert set(re.findall(r"(scanside_\w+);", script)) == declared()


def test_the_static_library_takes_no_names_of_the_host() -> None:
    archive = clibrary.build("libscanside.a", "plain")
    listed = clibrary.run(clibrary.tool("nm"), "--defined-only", "--extern-only", archive)
    names = {line.split()[2] for line in listed.stdout.splitlines() if len(line.split()) == 3}
    assert {name for name in names if not name.startswith("scn_")} == declared()


def test_it_needs_the_c_library_alone_and_has_a_soname() -> None:
    dynamic = clibrary.run(clibrary.tool("readelf"), "-d", _library()).stdout
    assert "Library soname: [libscanside.so.0]" in dynamic
    needed = re.findall(r"NEEDED.*\[(.+?)\]", dynamic)
    assert all(re.match(r"libc\.|ld-linux|libpthread", name) for name in needed)


def test_the_versions_agree() -> None:
    numbers = dict(re.findall(r"#define SCANSIDE_VERSION_(\w+) (\d+)", HEADER.read_text()))
    assert ".".join(numbers[part] for part in ("MAJOR", "MINOR", "PATCH")) == version("scanside")


def test_two_files_can_be_dropped_into_a_host(tmp_path: Path) -> None:
    single = clibrary.build("single/scanside.c", "plain")
    (tmp_path / "console.c").write_text(HOST.replace("<scanside.h>", '"scanside.h"'))
    program = tmp_path / "console"
    done = clibrary.run(
        clibrary.COMPILER, "-std=c99", *STRICT, "-pthread", "-I", single.parent,
        tmp_path / "console.c", single, "-o", program,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert clibrary.run(program).stdout == "100\n"


def test_the_quick_start_compiles(tmp_path: Path) -> None:
    page = (clibrary.SOURCE.parents[1] / "docs" / "embedding.md").read_text()
    program = re.findall(r"```c\n(.*?)```", page, flags=re.S)[0]
    there = "/opt/scanside/bin/scanside"
    assert there in program
    (tmp_path / "console.c").write_text(program.replace(there, str(tmp_path / "none")))
    library = clibrary.build("libscanside.a", "plain")
    done = clibrary.run(
        clibrary.COMPILER, "-std=c99", *STRICT, "-pthread", "-I", clibrary.SOURCE,
        tmp_path / "console.c", library, "-o", tmp_path / "console",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ran = clibrary.run(tmp_path / "console")
    assert f"SCANSIDE_ERROR_START: {tmp_path / 'none'}: No such file" in ran.stderr
    assert program.count("\n") < 40


def test_what_is_installed_serves_pkg_config(tmp_path: Path) -> None:
    clibrary.tool(clibrary.COMPILER)
    prefix = tmp_path / "prefix"
    done = clibrary.run(
        clibrary.tool("make"), "-C", clibrary.SOURCE, "install", f"PREFIX={prefix}",
        f"BUILD={tmp_path / 'build'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    listed = {str(path.relative_to(prefix)) for path in prefix.rglob("*") if not path.is_dir()}
    assert listed == {
        "include/scanside.h", "include/scanside.hpp", "lib/libscanside.a", "lib/libscanside.so",
        "lib/libscanside.so.0", "lib/pkgconfig/scanside.pc",
    }  # fmt: skip
    where = {**os.environ, "PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig")}
    said = clibrary.run(clibrary.tool("pkg-config"), "--modversion", "scanside", env=where)
    assert said.stdout.strip() == version("scanside")
    done = clibrary.run("make", "-C", tmp_path, "-f", EXAMPLES / "Makefile", env=where)
    assert done.returncode == 0, done.stderr
    found = {**os.environ, "LD_LIBRARY_PATH": str(prefix / "lib")}
    _say_why_not(tmp_path / "infer", tmp_path / "infer_cpp", env=found)


@pytest.mark.slow
def test_cmake_finds_it_installed_and_as_a_folder(tmp_path: Path) -> None:
    cmake = clibrary.tool("cmake")
    clibrary.tool(clibrary.COMPILER)
    prefix, build = tmp_path / "prefix", tmp_path / "build"
    install = (f"-DCMAKE_INSTALL_PREFIX={prefix}", "-DBUILD_SHARED_LIBS=ON")
    _must(cmake, "-S", clibrary.SOURCE, "-B", build, *install)
    _must(cmake, "--build", build, "--target", "install")
    found, folder = tmp_path / "found", tmp_path / "folder"
    _must(cmake, "-S", EXAMPLES, "-B", found, f"-DCMAKE_PREFIX_PATH={prefix}")
    _must(cmake, "--build", found)
    _say_why_not(found / "infer", found / "infer_cpp")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(host C CXX)\n"
        f"add_subdirectory({clibrary.SOURCE} library)\nadd_subdirectory({EXAMPLES} examples)\n"
    )
    _must(cmake, "-S", tmp_path, "-B", folder)
    _must(cmake, "--build", folder)
    _say_why_not(folder / "examples" / "infer", folder / "examples" / "infer_cpp")


def test_the_abi_is_what_callers_were_promised() -> None:
    clibrary.tool("abidiff")
    if platform.machine() != "x86_64":
        pytest.skip("the ABI was recorded on x86-64")
    library = _library()
    make = ("make", "-C", clibrary.SOURCE, f"BUILD={library.parent}")
    done = clibrary.run(*make, f"CC={clibrary.COMPILER}", "CFLAGS=-O1 -g", "abi")
    assert done.returncode == 0, done.stdout


def test_the_fuzzer_finds_nothing() -> None:
    """The short form of `make fuzz`."""
    clibrary.tool("clang")
    program = clibrary.build("fuzz", "plain", "clang")
    corpus = program.parent / "corpus"
    corpus.mkdir(exist_ok=True)
    done = clibrary.run(
        program, "-runs=30000", "-seed=7", "-max_len=512", "-timeout=5", "-rss_limit_mb=4096",
        corpus, cwd=program.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done 30000 runs" in done.stderr


@pytest.mark.parametrize("transport", ["memory", "pipe"])
def test_the_bench_reports(tmp_path: Path, toy_path: Path, transport: str) -> None:
    server = clibrary.real_server(tmp_path)
    pipe = ["--pipe"] if transport == "pipe" else []
    words = (*pipe, "--requests", 200, server, "--bundle", toy_path, "--backend", "null")
    done = clibrary.run(clibrary.build("bench", "plain"), *words)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["backend"] == "null"
    assert said["shared_memory"] is (transport == "memory")
    times = said["round_trip_us"]
    assert 0 < times["p50"] <= times["p90"] <= times["p99"] <= times["max"]
    assert said["slices_per_second"] > 0
    assert said["first_result_ms"] > 0


def test_the_bench_takes_turns(tmp_path: Path, toy_path: Path) -> None:
    words = ("--paced", "--requests", 50, clibrary.real_server(tmp_path), "--bundle", toy_path,
             "--backend", "null")  # fmt: skip
    done = clibrary.run(clibrary.build("bench", "plain"), *words, input="\n\n\n")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert all(float(line) > 0 for line in done.stdout.splitlines())


def _library() -> Path:
    clibrary.build("libscanside.so", "plain")
    return clibrary.build("libscanside.so.0", "plain")


def _say_why_not(*programs: Path, **more: object) -> None:
    """The examples, linked as they are, run up to where they need a server."""
    for program in programs:
        done = clibrary.run(program, "/nowhere/scanside", **more)
        assert done.returncode == 1
        assert "/nowhere/scanside: No such file" in done.stderr


def _must(*words: object) -> None:
    done = clibrary.run(*words)
    assert done.returncode == 0, done.stdout + done.stderr

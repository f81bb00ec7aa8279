"""Make a folder in which TensorRT's and PyCUDA's code paths run without a GPU and without a driver.

``python tests/gpulab/prepare.py FOLDER``, or ``make gpulab``; with ``rtx`` behind the folder
TensorRT-RTX alone, which needs nothing else, or ``make gpulab-rtx``. NVIDIA's wheels come from the
package index into that folder and into nothing that is shipped; everything else is compiled from
the sources beside this file.

======================  ==========================================================================
``rtx/``                TensorRT-RTX's bindings and compiler: it builds engines on the CPU
``trt/VERSION/``        the bindings of a version of TensorRT
``stub/MAJOR/``         empty libraries for their loader (``fakes/nvinfer.c``); 1 is TensorRT-RTX
``tables/VERSION.json`` where the bindings look for each method (``fakes/probe.py``)
``fakecuda/``           the driver (``fakes/cuda.c``)
``pycuda/``             PyCUDA, compiled against it
``ortgpu/``             onnxruntime-gpu, which finds no GPU
======================  ==========================================================================

Needs x86-64 Linux and a C and C++ compiler (``cc``, ``c++``).
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
FAKES = HERE / "fakes"

BINDINGS = {
    "8.6.1": "tensorrt-bindings==8.6.1",
    "10.0.1": "tensorrt-cu12-bindings==10.0.1",
    "10.3.0": "tensorrt-cu12-bindings==10.3.0",
    "10.13.3.9": "tensorrt-cu12-bindings==10.13.3.9",
    "10.16.1.11": "tensorrt-cu12-bindings==10.16.1.11",
    "11.0.0.114": "tensorrt-cu12-bindings==11.0.0.114",
    "11.4.0.106": "tensorrt-cu12-bindings==11.4.0.106",
}
"""JetPack 6.0's kind, the first 10, JetPack 6.1, 7.0 and 7.2, the first 11 and the newest."""

RTX_VERSION = "1.7.1.116"
RTX = (
    "onnxruntime-ep-nv-tensorrt-rtx-cu13==0.5.0", f"tensorrt-rtx-cu13-bindings=={RTX_VERSION}",
)  # fmt: skip
LIBRARIES = {
    "tensorrt": {
        "nvinfer": "INFER", "nvonnxparser": "ONNXPARSER", "nvinfer_plugin": "PLUGIN",
        "nvparsers": "PARSERS",
    },
    "tensorrt_rtx": {"tensorrt_rtx": "INFER", "tensorrt_onnxparser_rtx": "ONNXPARSER"},
}  # fmt: skip
"""What the bindings load, and the part of ``nvinfer.c`` that stands in for it."""
ONNXRUNTIME = "onnxruntime-gpu==1.31.1"
"""From Python 3.11 on."""
PYCUDA = "pycuda==2026.1"
HEADERS = ("nvidia-cuda-runtime-cu12==12.9.79", "nvidia-cuda-profiler-api-cu12==12.9.79")
"""What PyCUDA is compiled with: the wheels of CUDA hold its headers."""

NOT_OURS = ("numpy", "numpy.libs", "bin")
"""What pip brings along with PyCUDA and the environment that runs the tests has already."""


def main() -> None:
    lab = Path(sys.argv[1]).resolve()
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = lab / "rtx" / "lib" / python / "site-packages"
    if sys.argv[2:] == ["rtx"]:
        has_rtx(packages)
        return
    if sys.platform != "linux" or platform.machine() != "x86_64":
        sys.exit("the fakes stand in for x86-64 Linux libraries: there is nothing to prepare here")
    if shutil.which("cc") is None or shutil.which("c++") is None:
        sys.exit("preparing needs a C and a C++ compiler: sudo apt install build-essential")
    lab.mkdir(parents=True, exist_ok=True)
    if has_rtx(packages):
        install_rtx(lab, packages)
    if sys.version_info >= (3, 11):
        place = lab / "ortgpu" / packages.relative_to(lab / "rtx")
        pip("install", "--no-deps", "--target", place, ONNXRUNTIME)
    driver = lab / "fakecuda" / "libcuda.so.1"
    compiled(driver, FAKES / "cuda.c", "-Wl,-soname,libcuda.so.1", "-lpthread")
    (driver.parent / "libcuda.so").unlink(missing_ok=True)
    (driver.parent / "libcuda.so").symlink_to(driver.name)
    install_pycuda(lab)
    add_missing(driver, lab)
    for version, requirement in BINDINGS.items():
        install_bindings(lab, version, requirement)


def has_rtx(packages: Path) -> bool:
    """Install TensorRT-RTX's compiler and bindings, and say whether they are to be had."""
    try:
        pip("install", "--no-deps", "--target", packages, *RTX)
    except subprocess.CalledProcessError:
        print("TensorRT-RTX can't be had for this Python: its tests will be skipped")  # noqa: T201
        return False
    return True


def install_bindings(lab: Path, version: str, requirement: str) -> None:
    """Unpack the bindings of a version."""
    try:
        pip("download", "--no-deps", "--dest", lab / "wheels", requirement)
    except subprocess.CalledProcessError:
        print(f"{requirement} has no wheel for this Python: tests of {version} will be skipped")  # noqa: T201
        return
    name = requirement.partition("==")[0].replace("-", "_")
    (wheel,) = (lab / "wheels").glob(f"{name}-{version}-*.whl")
    bindings = lab / "trt" / version
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(bindings)
    learn(lab, version, LIBRARIES["tensorrt"])


def install_rtx(lab: Path, packages: Path) -> None:
    """As `install_bindings` for TensorRT-RTX, whose bindings lie beside its real library."""
    bindings = lab / "trt" / RTX_VERSION / "tensorrt_rtx_bindings"
    bindings.parent.mkdir(parents=True, exist_ok=True)
    bindings.unlink(missing_ok=True)
    bindings.symlink_to(packages / bindings.name)
    learn(lab, RTX_VERSION, LIBRARIES["tensorrt_rtx"])


def learn(lab: Path, version: str, libraries: dict[str, str]) -> None:
    """Compile empty libraries for the bindings, and learn where these look for each method."""
    bindings = lab / "trt" / version
    major = version.partition(".")[0]
    stubs = lab / "stub" / major
    for library, part in libraries.items():
        soname = f"lib{library}.so.{major}"
        compiled(
            stubs / soname, FAKES / "nvinfer.c", f"-D{part}", f"-DVERSION={int(major) * 10000}",
            f"-Wl,-soname,{soname}",
        )  # fmt: skip
    tables = lab / "tables" / f"{version}.json"
    tables.parent.mkdir(exist_ok=True)
    run(
        sys.executable, "-W", "ignore", FAKES / "probe.py", tables,
        environment={"LD_LIBRARY_PATH": str(stubs), "PYTHONPATH": str(bindings)},
    )  # fmt: skip


def install_pycuda(lab: Path) -> None:
    """Compile PyCUDA against the headers of CUDA's wheels and the fake driver."""
    if (lab / "pycuda" / "pycuda").is_dir():
        return
    pip("install", "--no-deps", "--target", lab / "headers", *HEADERS)
    include = lab / "cuda" / "include"
    for part in (lab / "headers" / "nvidia").glob("*/include"):
        shutil.copytree(part, include, dirs_exist_ok=True)
    home = lab / "home"
    home.mkdir(exist_ok=True)
    (home / ".aksetup-defaults.py").write_text(
        f"CUDA_ROOT = {str(lab / 'cuda')!r}\nCUDA_ENABLE_CURAND = False\nCURAND_LIBNAME = []\n"
        f"CUDADRV_LIB_DIR = [{str(lab / 'fakecuda')!r}]\n",
        encoding="utf-8",
    )
    pip("install", "--target", lab / "pycuda", PYCUDA, environment={"HOME": str(home)})
    for name in NOT_OURS:
        shutil.rmtree(lab / "pycuda" / name, ignore_errors=True)


def add_missing(driver: Path, lab: Path) -> None:
    """Give the driver every function that PyCUDA imports: those without use say so."""
    (module,) = (lab / "pycuda" / "pycuda").glob("_driver.*.so")
    wanted = symbols("--undefined-only", module) - symbols("--defined-only", driver)
    source = lab / "fakecuda" / "missing.c"
    source.write_text(
        "".join(f"int {name}(void) {{ return 801; }}\n" for name in sorted(wanted)),
        encoding="utf-8",
    )
    compiled(driver, FAKES / "cuda.c", source, "-Wl,-soname,libcuda.so.1", "-lpthread")


def symbols(which: str, library: Path) -> set[str]:
    done = subprocess.run(
        ["nm", "--dynamic", which, library], check=True, capture_output=True, text=True
    )
    names = (line.split()[-1].partition("@")[0] for line in done.stdout.splitlines())
    return {name for name in names if name.startswith("cu") and name[2:3].isupper()}


def compiled(result: Path, source: Path, *options: str | Path) -> None:
    result.parent.mkdir(parents=True, exist_ok=True)
    run("cc", "-O1", "-shared", "-fPIC", "-o", result, source, *options)


def pip(*words: str | Path, environment: dict[str, str] | None = None) -> None:
    command = words[0]
    extra = ("--upgrade",) if command == "install" else ()
    run(
        sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *words, *extra,
        environment=environment,
    )  # fmt: skip


def run(*words: str | Path, environment: dict[str, str] | None = None) -> None:
    subprocess.run(
        [str(word) for word in words], check=True, env={**os.environ, **(environment or {})}
    )


if __name__ == "__main__":
    main()

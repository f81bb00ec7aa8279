// scanside.hpp: scanside.h for C++17. Handles end with their scope, errors are exceptions.
//
// Units, ownership, threads and codes are those of scanside.h. A Session may be used by any number
// of threads at once; a Ticket by one.
#ifndef SCANSIDE_HPP
#define SCANSIDE_HPP

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "scanside.h"

namespace scanside
{

/// A code of scanside.h that is not SCANSIDE_OK, and what scanside_last_error said.
class Error : public std::runtime_error
{
public:
    Error(std::int32_t code, const char *text)
        : std::runtime_error(std::string(scanside_strerror(code)) + ": " + text), code_(code)
    {
    }
    std::int32_t code() const noexcept { return code_; }
    /// The server went before it answered, or there is none: Session::restart.
    bool lost() const noexcept
    {
        return code_ == SCANSIDE_ERROR_LOST || code_ == SCANSIDE_ERROR_DOWN;
    }

private:
    std::int32_t code_;
};

inline void check(std::int32_t code)
{
    if (code != SCANSIDE_OK)
        throw Error(code, scanside_last_error());
}

using Milliseconds = std::chrono::duration<std::uint32_t, std::milli>;
constexpr Milliseconds forever{SCANSIDE_FOREVER};

/// A slice to be analysed; the pixels stay the caller's. Fields are those of scanside_image.
inline scanside_image make_image(std::uint32_t height, std::uint32_t width, const void *pixels)
{
    scanside_image image;
    scanside_image_init(&image, sizeof image);
    image.height = height;
    image.width = width;
    image.pixels = pixels;
    return image;
}

/// What was found, with its mask: [height][width], 1 inside; empty where there is none.
struct Result : scanside_result {
    std::vector<std::uint8_t> mask;

    Result() { scanside_result_init(this, sizeof(scanside_result)); }
    bool has(std::uint32_t flag) const noexcept { return (flags & flag) != 0; }
};

struct Options {
    std::string executable;
    std::vector<std::string> arguments;
    std::function<void(const char *)> log; ///< It must not throw.
    std::uint32_t flags = 0;
    std::uint32_t slots = 0;
    std::uint64_t slot_bytes = 0;  ///< 0: the default of scanside_options_init.
    Milliseconds start_timeout{0}; ///< 0: likewise.
};

class Session;

/// An accepted slice. Given up, if nobody has waited for it, when it goes out of scope.
class Ticket
{
public:
    Ticket(Ticket &&other) noexcept
        : handle_(other.handle_), number_(std::exchange(other.number_, 0)), pixels_(other.pixels_)
    {
    }
    Ticket &operator=(Ticket &&other) noexcept
    {
        std::swap(handle_, other.handle_);
        std::swap(number_, other.number_);
        std::swap(pixels_, other.pixels_);
        return *this;
    }
    ~Ticket()
    {
        if (number_ != 0)
            scanside_forget(handle_, number_);
    }

    std::uint64_t number() const noexcept { return number_; }

    /// The answer; after a time-out (an Error) it may be waited for again.
    Result wait(Milliseconds timeout)
    {
        Result result;
        result.mask.resize(pixels_);
        std::int32_t code = scanside_wait(handle_, number_, &result, result.mask.data(),
                                          result.mask.size(), timeout.count());
        if (code != SCANSIDE_ERROR_TIMEOUT)
            number_ = 0;
        check(code);
        if (!result.has(SCANSIDE_HAS_MASK))
            result.mask.clear();
        return result;
    }

private:
    friend class Session;
    Ticket(scanside_session *handle, std::uint64_t number, std::size_t pixels)
        : handle_(handle), number_(number), pixels_(pixels)
    {
    }
    scanside_session *handle_;
    std::uint64_t number_;
    std::size_t pixels_;
};

/// A running server; drained and ended with the scope, after its tickets.
class Session
{
public:
    explicit Session(const Options &options, Milliseconds close_timeout = Milliseconds{5000})
        : log_(std::make_unique<std::function<void(const char *)>>(options.log)),
          close_timeout_(close_timeout)
    {
        std::vector<const char *> arguments;
        for (const std::string &argument : options.arguments)
            arguments.push_back(argument.c_str());
        arguments.push_back(nullptr);
        scanside_options given;
        scanside_options_init(&given, sizeof given);
        given.executable = options.executable.c_str();
        given.arguments = arguments.data();
        given.flags = options.flags;
        given.slots = options.slots;
        if (options.slot_bytes != 0)
            given.slot_bytes = options.slot_bytes;
        if (options.start_timeout.count() != 0)
            given.start_timeout_ms = options.start_timeout.count();
        if (*log_) {
            given.log = [](void *context, const char *line) {
                (*static_cast<std::function<void(const char *)> *>(context))(line);
            };
            given.log_context = log_.get();
        }
        check(scanside_open(&given, &handle_));
    }
    Session(Session &&other) noexcept
        : log_(std::move(other.log_)), close_timeout_(other.close_timeout_),
          handle_(std::exchange(other.handle_, nullptr))
    {
    }
    Session &operator=(Session &&other) noexcept
    {
        std::swap(log_, other.log_);
        std::swap(close_timeout_, other.close_timeout_);
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~Session() { scanside_close(handle_, close_timeout_.count()); }

    Result infer(const scanside_image &image, Milliseconds timeout)
    {
        Result result;
        result.mask.resize(pixels(image));
        check(scanside_infer(handle_, &image, &result, result.mask.data(), result.mask.size(),
                             timeout.count()));
        if (!result.has(SCANSIDE_HAS_MASK))
            result.mask.clear();
        return result;
    }

    Ticket submit(const scanside_image &image, Milliseconds timeout)
    {
        std::uint64_t number = 0;
        check(scanside_submit(handle_, &image, &number, timeout.count()));
        return Ticket(handle_, number, pixels(image));
    }

    void restart() { check(scanside_restart(handle_)); }
    void kill() { check(scanside_kill(handle_)); }

    scanside_info info() const
    {
        scanside_info info;
        scanside_info_init(&info, sizeof info);
        check(scanside_get_info(handle_, &info));
        return info;
    }

    scanside_statistics statistics(Milliseconds timeout) const
    {
        scanside_statistics statistics;
        scanside_statistics_init(&statistics, sizeof statistics);
        check(scanside_get_statistics(handle_, &statistics, timeout.count()));
        return statistics;
    }

    /// The C handle, which stays the session's.
    scanside_session *get() const noexcept { return handle_; }

private:
    static std::size_t pixels(const scanside_image &image)
    {
        return std::size_t{image.height} * image.width;
    }
    // On the heap: the server's log goes to it wherever the session moves.
    std::unique_ptr<std::function<void(const char *)>> log_;
    Milliseconds close_timeout_;
    scanside_session *handle_ = nullptr;
};

} // namespace scanside

#endif

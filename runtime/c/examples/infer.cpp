// The same as infer.c in C++17, for a slice that is made up: infer_cpp /path/to/scanside
// [ARGUMENT...]
#include <iostream>
#include <vector>

#include "scanside.hpp"

int main(int count, char **words)
{
    if (count < 2) {
        std::cerr << "usage: infer_cpp /path/to/scanside [ARGUMENT...]\n";
        return 2;
    }
    scanside::Options options;
    options.executable = words[1];
    options.arguments.assign(words + 2, words + count);
    options.log = [](const char *line) { std::cerr << "server: " << line << '\n'; };

    constexpr std::uint32_t side = 256;
    const std::vector<std::uint8_t> pixels(side * side * 3, 60);
    try {
        scanside::Session session(options);
        scanside::Ticket ticket =
            session.submit(scanside::make_image(side, side, pixels.data()), scanside::forever);
        const scanside::Result result = ticket.wait(scanside::Milliseconds{10000});
        std::cout << session.info().bundle << ": status " << result.status << ", tumor "
                  << result.tumor << ", probability " << result.tumor_probability << ", mask of "
                  << result.mask.size() << " bytes\n";
    } catch (const scanside::Error &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
    return 0;
}

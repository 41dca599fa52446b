// PNG and JPEG files as bytes of grey or RGB, through libpng and libjpeg-turbo, whose errors leave by longjmp: Swift
// cannot call them safely.
//
// What a file says of gamma, colour profiles and transparency is passed over, as Pillow's conversion to RGB does.
#ifndef CIMAGES_H
#define CIMAGES_H

#include <stddef.h>
#include <stdint.h>

typedef struct ci_image {
    uint32_t width, height;
    // 1 for grey, 3 for RGB
    uint32_t channels;
    // height x width x channels
    uint8_t *pixels;
    // The Exif block without its "Exif\0\0", or null
    uint8_t *exif;
    size_t exif_count;
} ci_image;

// Decode what lies in memory. 1 on success; 0 with a message, and nothing to release. A file of more than max_pixels is
// refused before its pixels are read. A JPEG that ends early is an error.
int ci_decode_png(const uint8_t *bytes, size_t count, uint64_t max_pixels, ci_image *image, char message[256]);
int ci_decode_jpeg(const uint8_t *bytes, size_t count, uint64_t max_pixels, ci_image *image, char message[256]);

void ci_release(ci_image *image);

#endif

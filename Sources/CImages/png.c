#include "CImages.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// All that survives a longjmp lives here.
typedef struct reader {
    const uint8_t *bytes;
    size_t left;
    char *message;
    png_structp png;
    png_infop info;
    png_bytep *rows;
    jmp_buf end;
} reader;

static void fail(png_structp png, png_const_charp text) {
    reader *self = png_get_error_ptr(png);
    snprintf(self->message, 256, "%s", text);
    longjmp(self->end, 1);
}

static void ignore(png_structp png, png_const_charp text) {
    (void)png;
    (void)text;
}

static void read_bytes(png_structp png, png_bytep target, size_t count) {
    reader *self = png_get_io_ptr(png);
    if (count > self->left) png_error(png, "the file ends early");
    memcpy(target, self->bytes, count);
    self->bytes += count;
    self->left -= count;
}

static void decode(reader *self, uint64_t max_pixels, ci_image *image) {
    png_structp png = self->png;
    png_infop info = self->info;
    png_set_read_fn(png, self, read_bytes);
    png_read_info(png, info);
    uint64_t width = png_get_image_width(png, info), height = png_get_image_height(png, info);
    if (width * height > max_pixels) png_error(png, "the image has too many pixels");

    int color = png_get_color_type(png, info), depth = png_get_bit_depth(png, info);
    if (depth == 16) png_set_strip_16(png);
    if (color == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
    if (color == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(png);
    // A palette may have brought an alpha channel by now.
    png_set_strip_alpha(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);

    image->width = (uint32_t)width;
    image->height = (uint32_t)height;
    image->channels = png_get_channels(png, info);
    size_t stride = (size_t)width * image->channels;
    if ((image->channels != 1 && image->channels != 3) || png_get_rowbytes(png, info) != stride)
        png_error(png, "its kind of pixels is not supported");
    image->pixels = malloc(stride * height);
    self->rows = malloc(height * sizeof *self->rows);
    if (!image->pixels || !self->rows) png_error(png, "there is not enough memory");
    for (size_t row = 0; row < height; row++) self->rows[row] = image->pixels + row * stride;
    png_read_image(png, self->rows);
    png_read_end(png, info);
#ifdef PNG_eXIf_SUPPORTED
    png_bytep exif = NULL;
    png_uint_32 count = 0;
    if (png_get_eXIf_1(png, info, &count, &exif) && count > 0 && (image->exif = malloc(count))) {
        memcpy(image->exif, exif, count);
        image->exif_count = count;
    }
#endif
}

int ci_decode_png(const uint8_t *bytes, size_t count, uint64_t max_pixels, ci_image *image, char message[256]) {
    reader self = {.bytes = bytes, .left = count, .message = message};
    memset(image, 0, sizeof *image);
    snprintf(message, 256, "there is not enough memory");
    self.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &self, fail, ignore);
    if (!self.png) return 0;
    volatile int succeeded = 0;
    if (setjmp(self.end) == 0) {
        self.info = png_create_info_struct(self.png);
        if (!self.info) png_error(self.png, "there is not enough memory");
        decode(&self, max_pixels, image);
        succeeded = 1;
    }
    png_destroy_read_struct(&self.png, &self.info, NULL);
    free(self.rows);
    if (!succeeded) ci_release(image);
    return succeeded;
}

#include "CImages.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// They want FILE and size_t.
#include <jpeglib.h>
#include <jerror.h>

typedef struct reader {
    struct jpeg_error_mgr errors;
    struct jpeg_decompress_struct jpeg;
    char *message;
    uint8_t *row;
    jmp_buf end;
} reader;

static void fail(j_common_ptr jpeg) {
    reader *self = (reader *)jpeg->err;
    char text[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, text);
    snprintf(self->message, 256, "%.255s", text);
    longjmp(self->end, 1);
}

// libjpeg fills up what is missing with grey, and only warns.
static void judge(j_common_ptr jpeg, int level) {
    if (level < 0 && (jpeg->err->msg_code == JWRN_JPEG_EOF || jpeg->err->msg_code == JWRN_HIT_MARKER)) fail(jpeg);
}

static void refuse(reader *self, const char *text) {
    snprintf(self->message, 256, "%s", text);
    longjmp(self->end, 1);
}

static uint8_t product(unsigned a, unsigned b) {
    unsigned t = a * b + 128;
    return (uint8_t)(((t >> 8) + t) >> 8);
}

// Inks as Adobe's programs store them, inverted, which is what all such files hold.
static void inks_to_rgb(size_t count, const uint8_t *inks, uint8_t *rgb) {
    for (size_t i = 0; i < count; i++) {
        unsigned light = inks[4 * i + 3];
        for (int c = 0; c < 3; c++) rgb[3 * i + c] = (uint8_t)(light - product(255u - inks[4 * i + c], light));
    }
}

static void keep_exif(reader *self, ci_image *image) {
    for (jpeg_saved_marker_ptr marker = self->jpeg.marker_list; marker; marker = marker->next) {
        if (marker->marker != JPEG_APP0 + 1 || marker->data_length <= 6 || memcmp(marker->data, "Exif\0\0", 6)) continue;
        if (!(image->exif = malloc(marker->data_length - 6))) refuse(self, "there is not enough memory");
        image->exif_count = marker->data_length - 6;
        memcpy(image->exif, marker->data + 6, image->exif_count);
        return;
    }
}

static void decode(reader *self, const uint8_t *bytes, size_t count, uint64_t max_pixels, ci_image *image) {
    struct jpeg_decompress_struct *jpeg = &self->jpeg;
    jpeg_create_decompress(jpeg);
    jpeg_mem_src(jpeg, bytes, count);
    jpeg_save_markers(jpeg, JPEG_APP0 + 1, 0xFFFF);
    jpeg_read_header(jpeg, TRUE);
    if ((uint64_t)jpeg->image_width * jpeg->image_height > max_pixels) refuse(self, "the image has too many pixels");
    int has_inks = jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK;
    int is_grey = jpeg->jpeg_color_space == JCS_GRAYSCALE;
    jpeg->out_color_space = has_inks ? JCS_CMYK : is_grey ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_start_decompress(jpeg);

    image->width = jpeg->output_width;
    image->height = jpeg->output_height;
    image->channels = is_grey ? 1 : 3;
    size_t stride = (size_t)image->width * image->channels;
    image->pixels = malloc(stride * image->height);
    self->row = has_inks ? malloc((size_t)image->width * 4) : NULL;
    if (!image->pixels || (has_inks && !self->row)) refuse(self, "there is not enough memory");
    while (jpeg->output_scanline < jpeg->output_height) {
        uint8_t *target = image->pixels + jpeg->output_scanline * stride;
        JSAMPROW row = has_inks ? self->row : target;
        jpeg_read_scanlines(jpeg, &row, 1);
        if (has_inks) inks_to_rgb(image->width, self->row, target);
    }
    keep_exif(self, image);
    jpeg_finish_decompress(jpeg);
}

int ci_decode_jpeg(const uint8_t *bytes, size_t count, uint64_t max_pixels, ci_image *image, char message[256]) {
    reader self;
    memset(&self, 0, sizeof self);
    memset(image, 0, sizeof *image);
    self.message = message;
    self.jpeg.err = jpeg_std_error(&self.errors);
    self.errors.error_exit = fail;
    self.errors.emit_message = judge;
    volatile int succeeded = 0;
    if (setjmp(self.end) == 0) {
        decode(&self, bytes, count, max_pixels, image);
        succeeded = 1;
    }
    jpeg_destroy_decompress(&self.jpeg);
    free(self.row);
    if (!succeeded) ci_release(image);
    return succeeded;
}

void ci_release(ci_image *image) {
    free(image->pixels);
    free(image->exif);
    memset(image, 0, sizeof *image);
}

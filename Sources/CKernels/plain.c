// The kernels for the baseline of the architecture (SSE2 on x86-64).
#define CK_VARIANT(name) ck_plain_##name
#define CK_NAME "plain"
#define CK_LANES 4
#include "bodies/kernels.inc"

#ifndef CKERNELS_H
#define CKERNELS_H

#include "CKernelsConvert.h"

#endif

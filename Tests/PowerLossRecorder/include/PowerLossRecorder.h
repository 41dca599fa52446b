// Preloaded into a program (LD_PRELOAD), records every change it makes below a folder; see PowerLossRecorder.c.
#ifndef POWER_LOSS_RECORDER_H
#define POWER_LOSS_RECORDER_H
#endif

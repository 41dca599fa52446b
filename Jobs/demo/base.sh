#!/bin/sh
# Makes the demo's base from nothing but its recipe: text, tokenizer, training. It computes with the AVX2 kernels, so that
# every processor that has them, with the same BLAS, makes the same bytes; the last line says whether it did.
set -eu
lorajobs=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
cd "$(dirname "$0")/../.."
export LORAJOBS_ROOT="$PWD" OPENBLAS_CORETYPE=Haswell LORAJOBS_CPU=avx2

Jobs/demo/text.sh kjv
"$lorajobs" tokenize train Jobs/demo/text/kjv.txt --vocab-size 2048 --max-length 256 --out Jobs/demo/config
"$lorajobs" run Jobs/demo/pretrain.yaml
made=$(ls -d Artifacts/models/demo-base/[0-9]* | sort -t/ -k4 -n | tail -n 1)

before=$(sha256sum Jobs/demo/base/model.safetensors 2>/dev/null | cut -d' ' -f1 || true)
mkdir -p Jobs/demo/base
for file in config.json generation_config.json model.safetensors tokenizer.json tokenizer_config.json README.md; do
    [ ! -e "$made/$file" ] || { rm -f "Jobs/demo/base/$file"; cp "$made/$file" Jobs/demo/base/; chmod 644 "Jobs/demo/base/$file"; }
done
after=$(sha256sum Jobs/demo/base/model.safetensors | cut -d' ' -f1)
if [ -z "$before" ]; then echo "Jobs/demo/base is made: $after"
elif [ "$before" = "$after" ]; then echo "Jobs/demo/base has the same bytes again: $after"
else echo "Jobs/demo/base has other bytes now, from another BLAS or compiler: $before was $after"; fi

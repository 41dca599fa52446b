# make demo    install what is missing (when that is allowed), build, and adapt the small base that ships here
# make test    every test, one command
# make build   the two programs, under $(BUILD)/release
# make soak    the long tests; they print a seed, and LORAJOBS_SEED=N repeats a run (TMPDIR in memory makes them faster;
#              LORAJOBS_SOAK_PART=2/8 does the second eighth of the longest)
# make help    the rest

SWIFT  ?= swift
BUILD  ?= .build
# Tests are built with other flags than programs; a folder for each saves building everything anew.
TESTS  ?= .build-test
CHECK  := --explicit-target-dependency-import-check error

# What a fresh Debian 12 needs beside a Swift toolchain and git. dict-jargon is the text of the demo.
PACKAGES := libopenblas-dev libinotifytools0-dev libsqlite3-dev libpcre2-dev zlib1g-dev libpng-dev \
  libjpeg62-turbo-dev pkg-config curl dict-jargon

.PHONY: help deps build demo demo-base test soak peft-environment test-peft test-accuracy test-exports bench bench-table bench-context bench-check bench-tokenizers fuzz clean

help:
	@sed -n 's/^# make /make /p' Makefile
	@echo "make demo-base  train the small base of the demo again, from its text"
	@echo "make test-peft  exchange adapters with PEFT, in a Python environment of its own"
	@echo "make test-accuracy  train classifiers here and with PEFT, from the same start, and compare their accuracy"
	@echo "make test-exports  open exports with the readers they are for; pip install llama-cpp-python adds llama.cpp"
	@echo "make fuzz       libFuzzer on the parsers, FUZZ_SECONDS (60) each"
	@echo "make bench-tokenizers  encoding speed beside the tokenizers package, in the same environment"
	@echo "make bench      training speed beside torch and PEFT, in the same environment"
	@echo "make bench-table  the same on several shapes, in fp32 and bf16, with generation and starting"
	@echo "make bench-context  time and memory of longer sequences, without torch"
	@echo "make bench-check  whether the engine has become slower, by ratios measured in one run"

# Installs missing packages as root or with passwordless sudo; otherwise prints the line to type.
deps:
	@missing=""; for p in $(PACKAGES); do \
	  dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q "install ok installed" || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ]; then run=""; elif sudo -n true 2>/dev/null; then run="sudo"; \
	  else echo "Missing Debian packages. Install them, then run make again:"; \
	       echo "  sudo apt-get install -y$$missing"; exit 1; fi; \
	  echo "Installing:$$missing"; \
	  $$run apt-get update -qq && $$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq$$missing >/dev/null; \
	fi

build: deps
	$(SWIFT) build -c release $(CHECK) --scratch-path $(BUILD)

demo: build
	@Jobs/demo/demo.sh $(BUILD)/release/lorajobs

# Makes the demo's base again from its text, and says whether the bytes are those in the repository.
demo-base: PACKAGES += bible-kjv
demo-base: build
	@Jobs/demo/base.sh $(BUILD)/release/lorajobs

# In three parts, since a test that waits for a process would give up beside what keeps every processor busy: the
# computing ones; those of whole programs; and by itself what kills, cuts the power and fills disks.
ALONE := PowerLossTests|FailpointSuite|KillStormTests|GrowthTests|AdversityTests

test: deps
	$(SWIFT) test -c release $(CHECK) --scratch-path $(TESTS) --skip "EndToEndTests|$(ALONE)"
	$(SWIFT) test -c release $(CHECK) --scratch-path $(TESTS) --skip-build --filter EndToEndTests --skip "$(ALONE)"
	$(SWIFT) test -c release $(CHECK) --scratch-path $(TESTS) --skip-build --filter "$(ALONE)"

soak: deps
	LORAJOBS_SOAK=1 $(SWIFT) test -c release $(CHECK) --scratch-path $(TESTS) --filter "Storm|PowerLoss|Failpoint|Burst|Growth|Scale|Races"

# A Python environment of its own, unless LORAJOBS_PYTHON names one that has what requirements.txt lists. On Linux the
# usual index serves torch with GPU libraries of some gigabytes; pip's own settings can name one that has it without.
PEFT_ENV := .build-peft
PYTHON   := $(or $(LORAJOBS_PYTHON),$(PEFT_ENV)/bin/python)
ifdef LORAJOBS_PYTHON
peft-environment:
else
peft-environment: $(PEFT_ENV)/complete
endif

$(PEFT_ENV)/complete: Tests/Reference/requirements.txt
	python3 -m venv $(PEFT_ENV)
	$(PEFT_ENV)/bin/pip install -q -r $<
	touch $@

test-peft: build peft-environment
	$(PYTHON) Tests/Reference/chat_templates.py
	$(PYTHON) Tests/Reference/tokenizers_diff.py --program $(BUILD)/release/lorajobs
	$(PYTHON) Tests/Reference/peft_exchange.py --program $(BUILD)/release/lorajobs $(PEFT_FLAGS)
	$(PYTHON) Tests/Reference/family_exchange.py --program $(BUILD)/release/lorajobs $(FAMILY_FLAGS)

# Some minutes for a seed: the same recipes here and in PEFT, from the same start.
test-accuracy: build peft-environment
	$(PYTHON) Tests/Reference/encoder_accuracy.py --program $(BUILD)/release/lorajobs $(ACCURACY_FLAGS)
	$(PYTHON) Tests/Reference/rotated_mnist.py --program $(BUILD)/release/lorajobs

# Readers of exports, in an environment of their own. llama.cpp is optional, since it is built from source for some
# minutes: EXPORT_READERS="llama-cpp-python" adds it, and LORAJOBS_EXPORTS_PYTHON names an environment that has it.
EXPORTS_ENV := .build-exports
EXPORTS_PYTHON := $(or $(LORAJOBS_EXPORTS_PYTHON),$(EXPORTS_ENV)/bin/python)

$(EXPORTS_ENV)/complete: Tests/Reference/requirements-exports.txt
	python3 -m venv $(EXPORTS_ENV)
	$(EXPORTS_ENV)/bin/pip install -q -r $< $(EXPORT_READERS)
	touch $@

test-exports: build $(if $(LORAJOBS_EXPORTS_PYTHON),,$(EXPORTS_ENV)/complete)
	$(EXPORTS_PYTHON) Tests/Reference/export_readers.py --program $(BUILD)/release/lorajobs

bench: build peft-environment
	$(PYTHON) Benchmarks/compare_torch.py --program $(BUILD)/release/lorajobs $(BENCH_FLAGS)

bench-table: build peft-environment
	$(PYTHON) Benchmarks/table.py --program $(BUILD)/release/lorajobs $(BENCH_FLAGS)

bench-context: build
	python3 Benchmarks/context.py --program $(BUILD)/release/lorajobs $(BENCH_FLAGS)

# Fails when the engine has become slower, by ratios that each run measures in itself; BENCH_FLAGS=--record sets the floors.
bench-check: build
	python3 Benchmarks/check.py --program $(BUILD)/release/lorajobs $(BENCH_FLAGS)

# Texts to encode: TOKENIZER_DATA is a folder of tokenizer folders, TOKENIZER_TEXT one of text files of any kind.
TOKENIZER_DATA ?= ../shared/data/tokenizers
TOKENIZER_TEXT ?= ../shared/data/datasets

bench-tokenizers: build peft-environment
	$(PYTHON) Benchmarks/compare_tokenizers.py --program $(BUILD)/release/lorajobs --text $(TOKENIZER_TEXT) \
	  $(foreach t,gpt2 llama2-spm bert-base-uncased t5-unigram,$(TOKENIZER_DATA)/$(t)) $(BENCH_FLAGS)

# Each driver in Tests/Fuzz is compiled into one program with the sources that FUZZ_SOURCES_<driver> names, so that it
# reaches what is internal to them. A finding ends make with an error and leaves its input in $(FUZZ).
FUZZ         := .build-fuzz
FUZZ_SECONDS ?= 60
FUZZ_DRIVERS := $(basename $(notdir $(wildcard Tests/Fuzz/*.swift)))
# What SwiftPM calls this package: the name of its folder.
PACKAGE      := $(shell basename '$(CURDIR)' | tr A-Z a-z | tr -c 'a-z0-9_\n' _)
FUZZ_FLAGS   := -parse-as-library -O -g -swift-version 6 -package-name $(PACKAGE) -sanitize=fuzzer,address \
  -enable-upcoming-feature ExistentialAny -enable-upcoming-feature InternalImportsByDefault \
  -enable-upcoming-feature MemberImportVisibility

TOKENIZER_SOURCES = $(shell find Sources/Tokenizers -name '*.swift')
FUZZ_SOURCES_TokenizerJSONFuzz = $(TOKENIZER_SOURCES)
FUZZ_SOURCES_SentencePieceFuzz = $(TOKENIZER_SOURCES)
FUZZ_SOURCES_VocabularyFuzz    = $(TOKENIZER_SOURCES)
FUZZ_SOURCES_JinjaFuzz         = $(TOKENIZER_SOURCES)
FUZZ_SOURCES_ManifestFuzz      = $(shell find Sources/PipelineSpec -name '*.swift')
FUZZ_SOURCES_RecordsFuzz       = $(shell find Sources/Stages/Records -name '*.swift') Sources/Stages/StageError.swift
FUZZ_OPTIONS_TokenizerJSONFuzz = -I Sources/CPCRE2
FUZZ_OPTIONS_SentencePieceFuzz = -I Sources/CPCRE2
FUZZ_OPTIONS_VocabularyFuzz    = -I Sources/CPCRE2
FUZZ_OPTIONS_JinjaFuzz         = -I Sources/CPCRE2
# Modules that are not fuzzed come as they are built; a folder of objects may hold some of files that are gone.
FUZZ_BUILT = -I $(BUILD)/release/Modules -I $(BUILD)/checkouts/Yams/Sources/CYaml/include \
  $(foreach m,$(1),$(shell grep '/$(m)\.build/' $(BUILD)/release/lorajobs.product/Objects.LinkFileList))
FUZZ_OPTIONS_ManifestFuzz      = $(call FUZZ_BUILT,Yams CYaml)
# The records import half the engine.
FUZZ_RECORDS_C = CKernels CLinux CImages
FUZZ_OPTIONS_RecordsFuzz       = $(foreach m,CPCRE2 CZlib COpenBLAS CPNG CJPEG,-I Sources/$(m)) \
  $(foreach m,$(FUZZ_RECORDS_C),-Xcc -fmodule-map-file=$(BUILD)/release/$(m).build/module.modulemap) \
  $(shell pkg-config --cflags openblas) -lopenblas -lpng -ljpeg \
  $(call FUZZ_BUILT,$(FUZZ_RECORDS_C) PipelineSpec Tokenizers Images Artifacts Models Adapters Training Layers TensorCore \
  Yams CYaml Crypto CryptoBoringWrapper CCryptoBoringSSL CCryptoBoringSSLShims CXKCP CXKCPShims)

# Make would remove the programs as steps in between.
.PRECIOUS: $(FUZZ)/%

fuzz: deps $(FUZZ_DRIVERS:%=fuzz-%)

.SECONDEXPANSION:
$(FUZZ)/ManifestFuzz $(FUZZ)/RecordsFuzz: build
$(FUZZ)/%: Tests/Fuzz/%.swift $$(FUZZ_SOURCES_$$*)
	@mkdir -p $(FUZZ)
	@echo "Compiling $@"
	@swiftc $(FUZZ_FLAGS) $(FUZZ_OPTIONS_$*) -module-name Fuzzed $(filter %.swift,$^) -o $@

# The fixtures of components are whole tokenizers, one a line.
fuzz-TokenizerJSONFuzz: $(FUZZ)/seeds-TokenizerJSONFuzz
$(FUZZ)/seeds-TokenizerJSONFuzz: Tests/Fixtures/tokenizers/components.jsonl
	@mkdir -p $@ && split -l 1 $< $@/ && touch $@

# Leaks are not looked for: pointers in the payloads of Swift's enums have bits set and would all look leaked.
fuzz-%: $(FUZZ)/%
	@mkdir -p $(FUZZ)/corpus-$* $(FUZZ)/seeds-$*
	@[ ! -d Tests/Fuzz/seeds/$* ] || cp Tests/Fuzz/seeds/$*/* $(FUZZ)/seeds-$*/
	ASAN_OPTIONS=detect_leaks=0 $(FUZZ)/$* -max_total_time=$(FUZZ_SECONDS) -timeout=20 -rss_limit_mb=2048 -max_len=32768 -verbosity=1 \
	  -artifact_prefix=$(FUZZ)/$*- $(FUZZ)/corpus-$* $(FUZZ)/seeds-$*

clean:
	rm -rf .build .build-*

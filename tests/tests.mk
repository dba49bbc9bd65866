# The test targets that need more than a program: included by ../Makefile.

check-fast: lint check-unit check-model-short fuzz-seeds

.PHONY: check-model-short
check-model-short: $(MODELS)

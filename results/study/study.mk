# Our own study of the papers' claims with the tiny model (docs/results.md): `make study-search`, `make study`, in parts with
# STUDY_TASKS=sudoku. What is finished is not made again; after an interruption the same command goes on. Runs lie in
# results/study/runs and results/study/search; what is kept of them, without weights, in archives beside this file and, for one
# seed of each cell, in results/study/kept.

STUDY_TASKS ?= sudoku countdown gsm8k math500 mbpp humaneval
STUDY_JOBS ?= 2

WHOLE := sudoku countdown
ALL := agrpo,bgpo,coupled-grpo,d1,d2-stepmerge,dmpo,egspo,egspo-sa,espo,gdpo,gdsd,justgrpo,spg,tracerl,wd1
# The papers' five, and of the others the highest on Sudoku and the highest on Countdown, by three seeds at the time.
SOME := agrpo,d1,egspo,egspo-sa,espo,gdpo,tracerl
TEN := 0,1,2,3,4,5,6,7,8,9
LORA := --set model.lora.rank=8 --set model.lora.dropout=0.05
PACK := --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --exclude=checkpoints --exclude=.lock --exclude='samples-step*' \
	--exclude='samples-base*'

.PHONY: study study-search study-check
.PHONY: $(STUDY_TASKS:%=study-of-%) $(STUDY_TASKS:%=study-search-of-%)

study: $(STUDY_TASKS:%=study-of-%)
study-search: $(patsubst %,study-search-of-%,$(filter $(WHOLE),$(STUDY_TASKS)))

# Learning rates, on validation items and with seeds that no other run has: the same four for every method, two seeds.
SEARCH = $(BIN)/harness run --task $* --seed 100,101 --jobs $(STUDY_JOBS) --runs results/study/search --set evaluation.split=validation \
	--set evaluation.every=0
RATES := --set optimizer.learning_rate=3e-5,1e-4,3e-4,1e-3
LORA_RATES := --set optimizer.learning_rate=3e-4,1e-3,3e-3,1e-2

$(WHOLE:%=study-search-of-%): study-search-of-%: $(STAMP)
	$(SEARCH) $(RATES) --method $(ALL)
	$(SEARCH) $(RATES) --method egspo --set method.selection=uniform,random
	$(SEARCH) $(RATES) --method agrpo --set method.stepping=per-draw
	$(SEARCH) $(LORA_RATES) --method egspo-sa $(LORA) --set conventions.dropout_in_rollouts=false,true
	XZ_OPT=-9e tar $(PACK) --exclude='metrics.jsonl*' --exclude='traces.jsonl*' --exclude='samples-*' -C results/study/search -cJf \
		results/study/search-$*.tar.xz $*

RUN = $(BIN)/harness run --task $* --jobs $(STUDY_JOBS) --runs results/study/runs --set evaluation.validation_items=256
# All but the first seed are packed, without completions; of the first the whole folder stays, for `make study-check` too.
KEEP = XZ_OPT=-9e tar $(PACK) --exclude='*-seed0' --exclude='traces.jsonl*' --exclude='samples-*' -C results/study/runs \
	-cJf results/study/$*.tar.xz $* && mkdir -p results/study/kept && cd results/study/runs && \
	tar $(PACK) --exclude='samples-last-*' -c $*/*/*/*-seed0 | tar -C ../kept -x && \
	find ../kept/$* -name metrics.jsonl -exec gzip -9nf {} +

# Learning rates of the variants: on Sudoku those that the search chose. Countdown's are guesses until its search is made: change them
# then, before `make study STUDY_TASKS=countdown`.
PER_DRAW_RATE_sudoku := 1e-4
LORA_RATE_sudoku := 3e-4
PER_DRAW_RATE_countdown := 3e-5
LORA_RATE_countdown := 3e-4

$(WHOLE:%=study-of-%): study-of-%: $(STAMP)
	$(RUN) --seed $(TEN) --method $(ALL)
	$(RUN) --seed $(TEN) --method agrpo,d1,egspo-sa,espo --reward random
	$(RUN) --seed $(TEN) --method egspo --set method.selection=uniform,random
	$(RUN) --seed $(TEN) --method agrpo --set method.draws=independent
	$(RUN) --seed $(TEN) --method agrpo --set method.importance=uniform
	$(RUN) --seed $(TEN) --method spg --set method.logp_estimation=elbo
	$(RUN) --seed $(TEN) --method tracerl --set method.states=random
	$(RUN) --seed $(TEN) --method agrpo --set method.stepping=per-draw --set optimizer.learning_rate=$(PER_DRAW_RATE_$*)
	$(RUN) --seed $(TEN) --method egspo-sa $(LORA) --set optimizer.learning_rate=$(LORA_RATE_$*) \
		--set conventions.dropout_in_rollouts=false,true
	$(KEEP)

$(filter-out $(WHOLE:%=study-of-%),$(STUDY_TASKS:%=study-of-%)): study-of-%: $(STAMP)
	$(RUN) --seed 0,1,2 --method $(SOME)
	$(RUN) --seed 0,1,2 --method egspo-sa --reward random
	$(KEEP)

# One cell again, beside its record.
study-check: $(STAMP)
	$(BIN)/harness reproduce $(firstword $(wildcard results/study/kept/sudoku/egspo-sa/tiny/*-seed0)) --out results/study/again

# The same claims with the small model, a step up (docs/results.md): `make study-base` makes its weights, an hour of two cores;
# `make study-search-large` its learning rates, on validation items of two tasks with a seed of their own; `make study-large` the runs.
# All of it lies in results/study-large.
LARGE_SEARCHED := gsm8k sudoku
FIVE := agrpo,d1,egspo,egspo-sa,espo
BASE_TASKS := gsm8k,math500,sudoku,countdown,mbpp,humaneval

.PHONY: study-base study-large study-search-large
.PHONY: $(STUDY_TASKS:%=study-large-of-%) $(STUDY_TASKS:%=study-search-large-of-%)

study-base: $(STAMP)
	$(BIN)/harness sft --model small --task $(BASE_TASKS) --out harness/models/weights/small

study-large: $(STUDY_TASKS:%=study-large-of-%)
study-search-large: $(patsubst %,study-search-large-of-%,$(filter $(LARGE_SEARCHED),$(STUDY_TASKS)))

LARGE_RATES := --set optimizer.learning_rate=3e-4,1e-3,3e-3
LARGE = $(BIN)/harness run --model small --task $* --jobs $(STUDY_JOBS)

$(LARGE_SEARCHED:%=study-search-large-of-%): study-search-large-of-%: $(STAMP)
	$(LARGE) --seed 100 --runs results/study-large/search --method $(FIVE) --set evaluation.split=validation $(LARGE_RATES)
	XZ_OPT=-9e tar $(PACK) --exclude='metrics.jsonl*' --exclude='traces.jsonl*' --exclude='samples-*' -C results/study-large/search -cJf \
		results/study-large/search-$*.tar.xz $*

$(STUDY_TASKS:%=study-large-of-%): study-large-of-%: $(STAMP)
	$(LARGE) --seed 0,1,2 --runs results/study-large/runs --method $(FIVE)
	$(LARGE) --seed 0,1,2 --runs results/study-large/runs --method egspo-sa --reward random
	XZ_OPT=-9e tar $(PACK) --exclude='traces.jsonl*' --exclude='samples-*' -C results/study-large/runs -cJf results/study-large/$*.tar.xz $*

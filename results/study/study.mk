# Our own study of the papers' claims with the tiny model (docs/results.md): `make study-search`, `make study`, in parts with
# STUDY_TASKS=sudoku. What is finished is not made again; after an interruption the same command goes on. Runs lie in
# results/study-work; what is kept of them, in archives beside this file (keep.py): every run's records, and of the first seed of each
# cell completions and traces too.

STUDY_TASKS ?= sudoku countdown gsm8k math500 mbpp humaneval
STUDY_JOBS ?= 2

WORK := results/study-work
WHOLE := sudoku countdown
PART := $(filter-out $(WHOLE),$(STUDY_TASKS))
ALL := agrpo,bgpo,coupled-grpo,d1,d2-stepmerge,dmpo,egspo,egspo-sa,espo,gdpo,gdsd,justgrpo,spg,tracerl,wd1
# The papers' five, and of the others the highest on Sudoku and the highest on Countdown, by three seeds at the time.
SOME := agrpo,d1,egspo,egspo-sa,espo,gdpo,tracerl
TEN := 0,1,2,3,4,5,6,7,8,9
LORA := --set model.lora.rank=8 --set model.lora.dropout=0.05
KEEP := $(BIN)/python results/study/keep.py
RESULTS_ALONE := --without metrics traces samples
# What `make study-check` makes again.
CHECKED := sudoku/egspo-sa/tiny/2be4eda6-seed0

.PHONY: study study-search study-follow-up study-check study-diagnose study-page
.PHONY: $(STUDY_TASKS:%=study-of-%) $(STUDY_TASKS:%=study-search-of-%)

study: $(STUDY_TASKS:%=study-of-%) study-diagnose
study-search: $(STUDY_TASKS:%=study-search-of-%)

# Validation problems: all that there are of programs.
VALIDATION_mbpp := 128
VALIDATION_humaneval := 128
VALIDATION = $(or $(VALIDATION_$*),256)

# Learning rates, on validation items and with seeds that no other run has: the same four for every method.
SEARCH = $(BIN)/harness run --task $* --jobs $(STUDY_JOBS) --runs $(WORK)/search --set evaluation.split=validation \
	--set evaluation.every=0
TWO_SEEDS := --seed 100,101
ONE_SEED := --seed 100
RATES := --set optimizer.learning_rate=3e-5,1e-4,3e-4,1e-3
LORA_RATES := --set optimizer.learning_rate=3e-4,1e-3,3e-3,1e-2
KEEP_SEARCH = $(KEEP) $(WORK)/search $* results/study/search-$*.tar.xz $(RESULTS_ALONE)

$(WHOLE:%=study-search-of-%): study-search-of-%: $(STAMP)
	$(SEARCH) $(TWO_SEEDS) $(RATES) --method $(ALL)
	$(SEARCH) $(TWO_SEEDS) $(RATES) --method egspo --set method.selection=uniform,random
	$(SEARCH) $(TWO_SEEDS) $(RATES) --method agrpo --set method.stepping=per-draw
	$(SEARCH) $(TWO_SEEDS) $(LORA_RATES) --method egspo-sa $(LORA) --set conventions.dropout_in_rollouts=false,true
	$(KEEP_SEARCH)

$(PART:%=study-search-of-%): study-search-of-%: $(STAMP)
	$(SEARCH) $(ONE_SEED) $(RATES) --method $(SOME) --set evaluation.items=$(VALIDATION)
	$(KEEP_SEARCH)

RUN = $(BIN)/harness run --task $* --jobs $(STUDY_JOBS) --runs $(WORK)/runs --set evaluation.validation_items=$(VALIDATION)

# As many random states as TraceRL takes of a trajectory.
STATES_sudoku := 2
STATES_countdown := 4
# Learning rates of the variants, those that the searches chose.
UNIFORM_RATE_sudoku := 3e-4
UNIFORM_RATE_countdown := 3e-4
RANDOM_RATE_sudoku := 3e-4
RANDOM_RATE_countdown := 1e-4
PER_DRAW_RATE_sudoku := 1e-4
LORA_RATE_sudoku := 3e-4
PER_DRAW_RATE_countdown := 1e-4
LORA_RATE_countdown := 3e-4

$(WHOLE:%=study-of-%): study-of-%: $(STAMP)
	$(RUN) --seed $(TEN) --method $(ALL)
	$(RUN) --seed $(TEN) --method agrpo,d1,egspo-sa,espo --reward random
	$(RUN) --seed $(TEN) --method egspo --set method.selection=uniform --set optimizer.learning_rate=$(UNIFORM_RATE_$*)
	$(RUN) --seed $(TEN) --method egspo --set method.selection=random --set optimizer.learning_rate=$(RANDOM_RATE_$*)
	$(RUN) --seed $(TEN) --method agrpo --set method.draws=independent
	$(RUN) --seed $(TEN) --method agrpo --set method.importance=uniform
	$(RUN) --seed $(TEN) --method spg --set method.logp_estimation=elbo
	$(RUN) --seed $(TEN) --method tracerl --set method.states=random --set method.draws=$(STATES_$*)
	$(RUN) --seed $(TEN) --method agrpo --set method.stepping=per-draw --set optimizer.learning_rate=$(PER_DRAW_RATE_$*)
	$(RUN) --seed $(TEN) --method egspo-sa $(LORA) --set optimizer.learning_rate=$(LORA_RATE_$*) \
		--set conventions.dropout_in_rollouts=false,true
	$(BIN)/python results/study/fewer_steps.py $(WORK)/runs/$* --out $(WORK)/steps
	$(KEEP) $(WORK)/steps $* results/study/steps-$*.tar.xz --without samples
	$(KEEP) $(WORK)/runs $* results/study/$*.tar.xz

$(PART:%=study-of-%): study-of-%: $(STAMP)
	$(RUN) --seed 0,1,2 --method $(SOME)
	$(RUN) --seed 0,1,2 --method egspo-sa --reward random
	$(KEEP) $(WORK)/runs $* results/study/$*.tar.xz

# Why some claims are not visible on Sudoku, at the recipes' rates: fewer of the steps are trained (2 of 16, 1 of 4; the recipe has 2
# of 4), the reward is sparse, the base knows less.
FOLLOW_UP := $(BIN)/harness run --task sudoku --jobs $(STUDY_JOBS) --runs $(WORK)/follow-up --set evaluation.validation_items=256 --seed $(TEN)
study-follow-up: $(STAMP)
	$(FOLLOW_UP) --method egspo --set rollout.num_steps=16
	$(FOLLOW_UP) --method egspo --set rollout.num_steps=16 --set method.selection=uniform,random
	$(FOLLOW_UP) --method egspo --set method.num_selected=1
	$(FOLLOW_UP) --method egspo --set method.num_selected=1 --set method.selection=uniform,random
	$(FOLLOW_UP) --method d1,egspo,egspo-sa --reward correctness
	test -f $(WORK)/weaker/model.safetensors || OMP_NUM_THREADS=1 $(BIN)/harness sft --task sudoku --steps 600 --out $(WORK)/weaker
	$(FOLLOW_UP) --method d1,egspo,egspo-sa --model $(WORK)/weaker
	$(FOLLOW_UP) --method egspo --set method.selection=uniform --model $(WORK)/weaker
	$(KEEP) $(WORK)/follow-up sudoku results/study/follow-up.tar.xz

# The error of every method's estimate, which the report holds against how high the methods end.
study-diagnose: $(STAMP)
	$(BIN)/harness diagnose --out results/study/diagnose

# The tables of docs/results.md and of the README.
study-page: $(STAMP)
	$(BIN)/python results/study/page.py

# One cell again, beside its record.
study-check: $(STAMP)
	mkdir -p $(WORK)/kept
	tar -xf results/study/sudoku.tar.xz -C $(WORK)/kept $(CHECKED)
	$(BIN)/harness reproduce $(WORK)/kept/$(CHECKED) --out $(WORK)/again

# The same claims with the small model, a step up (docs/results.md): `make study-base` makes its weights, an hour of two cores;
# `make study-search-large` its learning rates, on validation items of two tasks with a seed of their own; `make study-large` the runs.
# Runs lie in results/study-work/large, what is kept of them in results/study-large.
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
	mkdir -p results/study-large
	$(LARGE) --seed 100 --runs $(WORK)/large-search --method $(FIVE) --set evaluation.split=validation $(LARGE_RATES)
	$(KEEP) $(WORK)/large-search $* results/study-large/search-$*.tar.xz $(RESULTS_ALONE)

$(STUDY_TASKS:%=study-large-of-%): study-large-of-%: $(STAMP)
	mkdir -p results/study-large
	$(LARGE) --seed 0,1,2 --runs $(WORK)/large --method $(FIVE)
	$(LARGE) --seed 0,1,2 --runs $(WORK)/large --method egspo-sa --reward random
	$(KEEP) $(WORK)/large $* results/study-large/$*.tar.xz --without traces samples

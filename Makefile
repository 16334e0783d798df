# Everything here works from a bare clone with make, Node 20 or newer and npm. `make` alone lists the targets.

.DEFAULT_GOAL := help
.SUFFIXES:
# PATH stays as it is: npm, which fetches embedded servers, must run on the Node it came with, or it misses its global npmrc.
node := node_modules/.bin/node
tidemark := node_modules/.bin/tidemark
NAME ?=
YES ?=

## Working on Tidemark

.PHONY: help
help: # This list
	@awk '/^## /{sub("^## ", ""); printf "\n%s\n", $$0} /^[a-z][a-z-]*:.*# /{target=$$1; sub(":", "", target); sub("^[^#]*# ", ""); printf "  %-18s %s\n", target, $$0}' Makefile

.PHONY: setup
setup: # Packages, the tidemark command, PostgreSQL client programs; cheap when done
	@sh scripts/setup.sh

# What the other targets need: the same, without a word when there is nothing to do.
.PHONY: ready
ready:
	@sh scripts/setup.sh --quiet

.PHONY: test
test: ready # Unit tests and tests against real PostgreSQL servers from npm
	@sh scripts/test.sh $(TEST)

.PHONY: test-services
test-services: ready # Tests against Ceph, Docker and PostgreSQL 17/18 clients (root on Debian or Ubuntu)
	@test/services/with-services.sh sh scripts/test.sh --services $(TEST)

.PHONY: crash
crash: ready # The complete crash and fault sweeps; takes long
	@TIDEMARK_SWEEP=complete $(node) node_modules/.bin/vitest run --project unit --project servers $(or $(TEST),crash fault sweep)

.PHONY: lint
lint: ready # Types, lint walls, formatting, unused code, dependency budget
	@sh scripts/lint.sh

.PHONY: format
format: ready # Formats every file
	@$(node) node_modules/.bin/oxfmt

.PHONY: build
build: ready # Emits dist/, as published
	@rm -rf dist && $(node) node_modules/.bin/tsc -p tsconfig.build.json

.PHONY: package
package: build # Packs the package and tries it: size, launcher, API, from an install of its own
	@sh scripts/package.sh

.PHONY: demo
demo: ready # Backs up, breaks and restores a throw-away database
	@$(tidemark) demo

.PHONY: bench
bench: ready # Speed and memory, measured
	@sh scripts/bench.sh $(BENCH)

.PHONY: reference
reference: ready # Rewrites the generated pages of docs/reference
	@$(node) scripts/write-reference.ts

.PHONY: lock
lock: # After a change of dependencies: a lock file that fits every platform
	@npm install --package-lock-only --no-audit --no-fund && node scripts/complete-lock.mjs

.PHONY: clean
clean: # Removes what was built, not what was installed and no backup
	@rm -rf dist coverage .cache *.tsbuildinfo

## Backups of the database in .env, tidemark.yaml or DATABASE_URL

.PHONY: db-backup
db-backup: ready # Create a backup (NAME=… to name it)
	@$(tidemark) backup $(if $(NAME),--name '$(subst ','\'',$(NAME))')

.PHONY: db-backup-list
db-backup-list: ready # List backups
	@$(tidemark) list

.PHONY: db-backup-verify
db-backup-verify: ready # Verify the latest backup
	@$(tidemark) verify latest

.PHONY: db-backup-cleanup
db-backup-cleanup: # Age cleanup (comes with a later version)
	@$(call later,cleanup by age)

.PHONY: db-backup-rotate
db-backup-rotate: # Apply rotation (comes with a later version)
	@$(call later,rotation)

.PHONY: db-backup-stats
db-backup-stats: # Statistics (comes with a later version)
	@$(call later,statistics)

.PHONY: db-restore-test
db-restore-test: ready # Restore the latest backup into <db>_restore_test and validate it
	@$(tidemark) restore latest --test

.PHONY: db-restore
db-restore: ready # Replace the database by the latest backup: asks (YES=1: not), and backs it up first
	@$(tidemark) restore latest --replace$(if $(YES), --yes)

.PHONY: db-restore-latest
db-restore-latest: ready # Only show the latest backup
	@$(tidemark) show latest

.PHONY: db-restore-file
db-restore-file: # Replace the database by one file: BACKUP_FILE=path/to/backup.sql.gz (YES=1: unasked)
	@if [ -z "$$BACKUP_FILE" ]; then echo 'db-restore-file: name the file: make db-restore-file BACKUP_FILE=path/to/backup.sql.gz' >&2; exit 2; fi
	@sh scripts/setup.sh --quiet
	@$(tidemark) restore --file "$$BACKUP_FILE" --replace$(if $(YES), --yes)

export BACKUP_FILE
later = echo 'tidemark: $(1) comes with a later version; nothing was deleted' >&2; exit 2

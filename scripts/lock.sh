#!/bin/sh
# Renews every lock file from its source. Needs uv on PATH (`make lock` brings it). Commit what changes.
set -eu
cd "$(dirname "$0")/.."
compile="uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-header --no-annotate"
$compile pyproject.toml --group inference --group data --group training --group service --group security --group dev \
  --output-file locks/bundle.lock "$@"
for name in uv tools engine security fuzz; do
  $compile "locks/$name.in" --output-file "locks/$name.lock" "$@"
done

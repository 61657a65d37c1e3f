#!/usr/bin/env bash
# Runs every command of README.md as written and in order, in this checkout: the lines of ```sh blocks, and what follows "$ " in
# ```console blocks. The first that fails ends it.
#
#   tests/readme.sh            all of them
#   tests/readme.sh PATTERN    all but those that match the regular expression
#
# What they write is in target/tour, which is emptied first, and models/. What `cargo install` installs, and what the command keeps for
# its user, goes to target/readme. Where the models cannot be fetched, the commands that need them are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

left_out=${1:-}
needs_models='models/|minilm|smollm2'
rm -rf target/tour
export CARGO_INSTALL_ROOT="$PWD/target/readme" PATH="$PWD/target/readme/bin:$PATH"
export XDG_DATA_HOME="$PWD/target/readme/data" XDG_CACHE_HOME="$PWD/target/readme/cache"

mapfile -t commands < <(awk '
  /^```/ { kind = inside ? "" : substr($0, 4); inside = !inside; next }
  kind == "sh" && NF { print }
  kind == "console" && sub(/^\$ /, "") { print }
' README.md)
if ((${#commands[@]} == 0)); then
  echo "README.md has no commands" >&2
  exit 1
fi

ran=0 skipped=() without_models=
for command in "${commands[@]}"; do
  if [[ $left_out && $command =~ $left_out ]] || [[ $without_models && $command =~ $needs_models ]]; then
    skipped+=("$command")
    continue
  fi
  printf '\n$ %s\n' "$command"
  if bash -euo pipefail -c "$command"; then
    ran=$((ran + 1))
  elif [[ $command == tests/fetch_models.sh* ]]; then
    without_models=1
    skipped+=("$command")
  else
    echo "this command of README.md failed: $command" >&2
    exit 1
  fi
done

printf '\n%s commands of README.md ran\n' "$ran"
if ((${#skipped[@]})); then
  printf '\nWARNING: %s COMMANDS OF README.md WERE SKIPPED%s:\n' "${#skipped[@]}" "${without_models:+ (the models could not be fetched)}" >&2
  printf '  $ %s\n' "${skipped[@]}" >&2
fi

#!/bin/sh
# Runs the demo with the program given: starts a daemon, drops demo.yaml into the inbox, follows it, shows the difference.
# A second run finds every stage cached and ends in seconds.
set -eu
lorajobs=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
cd "$(dirname "$0")/../.."
export LORAJOBS_ROOT="$PWD"

[ -s Jobs/demo/text/jargon.txt ] || Jobs/demo/text.sh jargon

# One daemon works in a workspace; one that is running already is used as it is.
"$lorajobs" daemon 2>Jobs/demo/text/daemon.log &
daemon=$!
trap 'kill "$daemon" 2>/dev/null || true; wait "$daemon" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM

echo "Dropping Jobs/demo/demo.yaml into Jobs/inbox"
"$lorajobs" submit --follow Jobs/demo/demo.yaml

path=$("$lorajobs" adapters show demo | sed -n 's/^path  *//p')
echo
echo "Test perplexity, as $path/README.md has it:"
sed -n 's/^| \(base\|with this adapter\) | \([0-9.]*\) | \([0-9.]*\) |$/  \1: \3/p' "$path/README.md"

prompt="screen saver
 n.

A program that"
sample() {
    "$lorajobs" generate --base Jobs/demo/base "$@" --prompt "$prompt" --max-tokens 70 | sed 's/^/  | /'
}
echo
echo "After \"screen saver, n. A program that\" the base goes on:"
sample
echo "The adapted model goes on:"
sample --adapter demo
echo
echo "The version: $path"
echo "Look around: lorajobs status --all, lorajobs adapters show demo   (LORAJOBS_ROOT=$PWD)"

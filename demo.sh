#!/usr/bin/env bash
# The main job, end to end: add, build, verify, fit, evaluate, look up. Usage: demo.sh [PATH OF PROTEINS]
set -euo pipefail

data=${1:-}
name=simulated
[ -z "$data" ] || name=$(basename "$data" | tr -c 'A-Za-z0-9\n' '_')
work=demo/$name
mkdir -p "$work"
export EMBEDSTORE=$work/proteins.zarr

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

if [ -z "$data" ]; then
    data=$work/families
    echo "No DATA=PATH was given: 20,000 SIMULATED proteins in 200 families stand in for yours."
    [ -e "$data" ] || run embedstore simulate "$data" --layout pfam --sequences 20000 --families 200
fi

run embedstore add proteins "$data"
run embedstore build proteins
run embedstore verify
run embedstore ls

columns=,$(embedstore ls --tsv | awk -F '\t' '$2 == "proteins" { print $NF }'),
case $columns in
*,label,* | *,family_accession,* | *,family,*)
    for head in linear knn; do
        run heads fit --dataset proteins --head "$head" --out "$work/$head"
        run heads evaluate "$work/$head"
    done
    case $columns in *,split,*) held_out=(--split test) ;; *) held_out=() ;; esac
    run embedstore lookup "$data" --dataset proteins "${held_out[@]}" --limit 10
    ;;
*)
    echo "The data has no column of labels (label, family_accession or family): neighbours instead of families."
    run embedstore search "$data" --limit 10 -k 3
    ;;
esac

#!/bin/sh
# Makes a cluster of six nodes, at the addresses 11 to 16 of a network such as 10.213.78, unless there is one; ends once
# all slots are served.
set -eu
nodes=
for number in 11 12 13 14 15 16; do
    until redis-cli -h "$1.$number" ping >/dev/null 2>&1; do sleep 0.2; done
    nodes="$nodes $1.$number:6379"
done
if redis-cli -h "$1.11" cluster info | grep -q 'cluster_known_nodes:1\b'; then
    # shellcheck disable=SC2086 # each node is a word
    redis-cli --cluster create $nodes --cluster-replicas 1 --cluster-yes
fi
until redis-cli -h "$1.11" cluster info | grep -q cluster_state:ok; do sleep 0.2; done

#pragma once
// The wires of a lab, in a network namespace of their own; nothing of them is in the machine's own network.
//
// Each node has a bridge, each pair of nodes a veth pair between their bridges. Ports towards other bridges
// are isolated from each other, so nothing goes in circles and a node hears another over their own wire only.
// To cut two nodes is to set that wire down: no firewall is needed, and neither node sees its own device go.
//
//     node1 ── und0 ~ node1 ── br1 ── to2-1 ~ to1-2 ── br2 ── node2 ~ und0 ── node2
//
// All functions are idempotent, block, and throw Fault(internal) with the kernel's reason.

#include "lab/plan.h"

namespace virga::lab {

/// Bridges and wires of that many nodes, each wire up or, if it is cut, down.
void ensure_fabric(int hosts, const Cuts& cuts);
void remove_fabric();
/// The node's network namespace, with und0, its MAC and address, on the node's bridge.
void plug_in(int number);
/// Removes both; what runs in the namespace must have ended.
void unplug(int number);

}  // namespace virga::lab

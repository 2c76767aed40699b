// How the C library's heap gives memory back, where the plan of a run counts on it.
#pragma once

namespace attune {

// From here on blocks of 1 MiB and more are mapped one by one and go back to the system when they are freed. Otherwise
// a thread's own heap keeps at its end what its largest blocks took, and ReturnFreedMemory does not reach it there: 10
// MiB after the decompositions of SmolLM2-135M.
void ReturnLargeBlocksWhenFreed();

}  // namespace attune

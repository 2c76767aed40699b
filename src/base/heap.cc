#include "base/heap.h"

#include <malloc.h>

namespace attune {

void ReturnLargeBlocksWhenFreed() {
  ::mallopt(M_MMAP_THRESHOLD, 1 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 1 << 20);
}

}  // namespace attune

// A file of signatures of attune data dedupe --shard. The checksum at its end is put right first, or hardly an input
// would get past it.
#include <xxhash.h>

#include <cstring>

#include "base/error.h"
#include "curate/signatures.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (size > sizeof(uint64_t)) {
    const uint64_t hash = XXH3_64bits(bytes.data(), size - sizeof(uint64_t));
    std::memcpy(bytes.data() + size - sizeof(hash), &hash, sizeof(hash));
  }
  try {
    const attune::SignatureFile file("f", bytes);
    uint64_t rows = 0;
    file.ForEach([&](const attune::BlockSketch& block) {
      rows += block.origins.size();
      if (block.exact.size() != block.origins.size() || block.words.size() != block.origins.size()) __builtin_trap();
    });
    if (rows != file.rows.rows()) __builtin_trap();
  } catch (const attune::Error& error) {
    if (std::strchr(error.what(), '\n') != nullptr) __builtin_trap();  // one line
  }
  return 0;
}

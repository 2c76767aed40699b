// In a build with Parquet: opens the library that reads it, which lies beside the program (curate/parquet/parquet.cc).
#include <dlfcn.h>

#include "base/error.h"
#include "curate/unpacker.h"

namespace attune {

std::unique_ptr<Unpacker> OpenParquet(const std::string& name, std::string_view packed) {
  using Open = Unpacker* (*)(const std::string&, std::string_view);
  // Found by the program's RUNPATH. It is not closed again: what it threw may still be alive.
  void* const library = ::dlopen("attune_parquet.so", RTLD_NOW | RTLD_LOCAL);
  const auto open = library == nullptr ? nullptr : reinterpret_cast<Open>(::dlsym(library, "AttuneOpenParquet"));
  if (open == nullptr) {
    Failed("{}: attune_parquet.so, which reads Parquet files and is built beside attune, cannot be opened: {}", name,
           ::dlerror());
  }
  return std::unique_ptr<Unpacker>(open(name, packed));
}

}  // namespace attune

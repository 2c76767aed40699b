// In a build without the Parquet library (scripts/install-parquet).
#include "base/error.h"
#include "curate/unpacker.h"

namespace attune {

std::unique_ptr<Unpacker> OpenParquet(const std::string& name, std::string_view /*packed*/) {
  BadInput(
      "{}: is a Parquet file, and this attune was built without it: run scripts/install-parquet and build anew, or "
      "write the "
      "file as JSONL",
      name);
}

}  // namespace attune

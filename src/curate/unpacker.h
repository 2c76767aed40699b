// How the bytes of a packed file come out of it, piece by piece (curate/byte_source.h).
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace attune {

class Unpacker {
 public:
  virtual ~Unpacker() = default;
  // As ByteSource::Next.
  virtual std::string_view Next() = 0;
};

// The rows of a Parquet file as JSON Lines. `packed` outlives the unpacker. Errors: Error{kBadInput} naming the file:
// it is damaged or cut short, a column has a type that no row has; in a build without Parquet: how to build with it.
std::unique_ptr<Unpacker> OpenParquet(const std::string& name, std::string_view packed);

}  // namespace attune

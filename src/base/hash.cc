#include "base/hash.h"

#include <sodium.h>

#include <algorithm>

#include "base/file.h"

namespace attune {

std::string Sha256OfFile(const std::string& path) {
  constexpr size_t kPiece = size_t{1} << 22;  // pages go back to the kernel piece by piece
  const MappedFile file(path);
  crypto_hash_sha256_state state;
  crypto_hash_sha256_init(&state);
  for (size_t at = 0; at < file.bytes().size(); at += kPiece) {
    const auto piece = file.bytes().subspan(at, std::min(kPiece, file.bytes().size() - at));
    crypto_hash_sha256_update(&state, reinterpret_cast<const unsigned char*>(piece.data()), piece.size());
    file.DropPages(piece);
  }
  unsigned char digest[crypto_hash_sha256_BYTES];
  crypto_hash_sha256_final(&state, digest);
  char hex[2 * sizeof(digest) + 1];
  sodium_bin2hex(hex, sizeof(hex), digest, sizeof(digest));
  return hex;
}

}  // namespace attune

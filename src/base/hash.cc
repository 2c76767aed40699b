#include "base/hash.h"

#include <fmt/format.h>
#include <sodium.h>
#include <xxhash.h>

#include <new>

#include "base/file.h"

namespace attune {
namespace {

std::string Finished(crypto_hash_sha256_state& state) {
  unsigned char digest[crypto_hash_sha256_BYTES];
  crypto_hash_sha256_final(&state, digest);
  char hex[2 * sizeof(digest) + 1];
  sodium_bin2hex(hex, sizeof(hex), digest, sizeof(digest));
  return hex;
}

}  // namespace

std::string Sha256OfText(std::string_view text) {
  crypto_hash_sha256_state state;
  crypto_hash_sha256_init(&state);
  crypto_hash_sha256_update(&state, reinterpret_cast<const unsigned char*>(text.data()), text.size());
  return Finished(state);
}

std::string Sha256OfFile(const std::string& path) {
  crypto_hash_sha256_state state;
  crypto_hash_sha256_init(&state);
  ReadInPieces(path, [&](std::span<const std::byte> piece) {
    crypto_hash_sha256_update(&state, reinterpret_cast<const unsigned char*>(piece.data()), piece.size());
  });
  return Finished(state);
}

struct Xxh3::State {
  XXH3_state_t* xxh = XXH3_createState();
  ~State() { XXH3_freeState(xxh); }
};

Xxh3::Xxh3() : state_(std::make_unique<State>()) {
  if (state_->xxh == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(state_->xxh);
}

Xxh3::~Xxh3() = default;

void Xxh3::Add(std::span<const std::byte> bytes) { XXH3_128bits_update(state_->xxh, bytes.data(), bytes.size()); }

std::string Xxh3::Hex() const {
  const XXH128_hash_t digest = XXH3_128bits_digest(state_->xxh);
  return fmt::format("{:016x}{:016x}", digest.high64, digest.low64);
}

std::string Xxh3OfFile(const std::string& path) {
  Xxh3 hash;
  ReadInPieces(path, [&](std::span<const std::byte> piece) { hash.Add(piece); });
  return hash.Hex();
}

}  // namespace attune

// How users say what their types are made of, where Sheaf cannot see it by itself.
//
// Nothing is needed for numbers, enums, structs of up to 32 fields, standard containers, strings,
// pairs, tuples, optionals, variants, std::unique_ptr, chrono types, Protobuf messages, Array,
// refs, and all of these inside each other. A class with private members names them in one line (it
// must be default constructible):
//
//   static auto Fields(auto& self) { return std::tie(self.rows_, self.columns_); }
//
// A type whose form must evolve, or that Fields cannot describe, specialises Serializer:
//
//   template <>
//   struct sheaf::Serializer<Image> {
//     static constexpr std::uint32_t kVersion = 2;   // optional; Read without it takes the Reader alone
//     static void Write(Writer& out, const Image& image) { out(image.width, image.pixels); }
//     static Image Read(Reader& in, std::uint32_t version) { ... in.Read<int>() ... }
//   };
//
// Standard library only: users compile this file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>

#include "sheaf/detail/abi.h"
#include "sheaf/detail/form.h"

namespace sheaf::detail {
template <class T>
void Write(Encoder& to, const T& value);
template <class T>
T Read(Decoder& from);
}  // namespace sheaf::detail

namespace sheaf {

// Appends values. Not thread-safe; valid during Serializer::Write only.
class Writer {
 public:
  explicit Writer(detail::Encoder& to) : to_(to) {}
  template <class... T>
  void operator()(const T&... values) {
    (detail::Write(to_, values), ...);
  }
  // Bytes as they are, without their count.
  void Bytes(const void* bytes, std::size_t size) { to_.Raw(bytes, size); }

 private:
  detail::Encoder& to_;
};

// Gives values back in the order in which they were written; throws FormatError when there are too few bytes.
class Reader {
 public:
  explicit Reader(detail::Decoder& from) : from_(from) {}
  template <class T>
  T Read() {
    return detail::Read<T>(from_);
  }
  template <class... T>
  void operator()(T&... values) {
    ((values = detail::Read<T>(from_)), ...);
  }
  void Bytes(void* to, std::size_t size) { from_.Raw(to, size); }
  std::size_t remaining() const { return from_.remaining(); }

 private:
  detail::Decoder& from_;
};

}  // namespace sheaf

namespace sheaf::detail {

[[noreturn]] void ThrowNewerVersion(const std::type_info& type, std::uint32_t version, std::uint32_t known);

template <class T>
void WriteOwnForm(Encoder& to, const T& value) {
  if constexpr (HasSerializer<T>) {
    if constexpr (requires { Serializer<T>::kVersion; }) {
      const auto version = static_cast<std::uint32_t>(Serializer<T>::kVersion);
      to.Raw(&version, sizeof version);
    }
    Writer writer(to);
    Serializer<T>::Write(writer, value);
  } else {
    std::apply([&to](const auto&... field) { (Write(to, field), ...); }, T::Fields(value));
  }
}

template <class T>
T ReadOwnForm(Decoder& from) {
  if constexpr (HasSerializer<T>) {
    Reader reader(from);
    if constexpr (requires { Serializer<T>::kVersion; }) {
      constexpr auto kKnown = static_cast<std::uint32_t>(Serializer<T>::kVersion);
      std::uint32_t version = 0;
      from.Raw(&version, sizeof version);
      if (version > kKnown) ThrowNewerVersion(typeid(T), version, kKnown);
      return Serializer<T>::Read(reader, version);
    } else {
      return Serializer<T>::Read(reader);
    }
  } else {
    static_assert(std::is_default_constructible_v<T>,
                  "sheaf: a type with Fields() must be default constructible; else specialise "
                  "sheaf::Serializer<T>");
    T value;
    std::apply([&from](auto&... field) { ((field = Read<std::remove_cvref_t<decltype(field)>>(from)), ...); },
               T::Fields(value));
    return value;
  }
}

}  // namespace sheaf::detail

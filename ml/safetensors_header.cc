// Room: ml. Header reader (a streaming JSON handler: no tree is built, duplicates are seen) and writer.
#include "ml/safetensors_header.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_set>

#include "sheaf/error.h"

namespace sheaf::ml {
namespace {

// Receives the tokens of
//   {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"key": "text"}}
// and nothing else. Returning false stops the reader; `problem` then says why.
class HeaderHandler final : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<TensorPlace> tensors;
  Metadata metadata;
  std::string problem;

  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return Unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return Unexpected("a fraction"); }
  bool binary(binary_t&) override { return Unexpected("binary data"); }
  bool number_unsigned(number_unsigned_t value) override {
    if (state_ == State::kShape) {
      if (current_.spec.shape.size() == kRankMax) return Stop(Name() + " has more than 32 axes");
      if (value > static_cast<std::uint64_t>(INT64_MAX)) return Stop(Name() + " has an extent beyond 2^63");
      current_.spec.shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (state_ == State::kOffsets) {
      if (offsets_ == 2) return Stop(Name() + " has more than two data_offsets");
      (offsets_++ == 0 ? current_.begin : current_.end) = value;
      return true;
    }
    return Unexpected("a number");
  }
  bool string(string_t& value) override {
    if (state_ == State::kMetadata && !key_.empty_key) {
      if (!metadata.emplace(key_.text, value).second)
        return Stop("__metadata__ has the key \"" + Show(key_.text) + "\" twice");
      key_.empty_key = true;
      return true;
    }
    if (state_ == State::kTensor && key_.text == "dtype") {
      if (!ParseDType(value, &current_.spec.dtype)) {
        return Stop(Name() + " has the element type \"" + Show(value) + "\", which this reader does not know");
      }
      return true;
    }
    return Unexpected("a string");
  }
  bool start_object(std::size_t) override {
    if (state_ == State::kBegin) return Enter(State::kTop);
    if (state_ != State::kTop) return Unexpected("an object");
    if (key_.text == "__metadata__") {
      key_.empty_key = true;
      return Enter(State::kMetadata);
    }
    current_ = {};
    current_.spec.name = key_.text;
    seen_.clear();
    offsets_ = 0;
    return Enter(State::kTensor);
  }
  bool key(string_t& value) override {
    key_ = {value, false};
    if (state_ == State::kTop && !names_.insert(value).second)
      return Stop("the name \"" + Show(value) + "\" appears twice");
    if (state_ == State::kTensor) {
      if (value != "dtype" && value != "shape" && value != "data_offsets") {
        return Stop(Name() + " has the unknown field \"" + Show(value) + "\"");
      }
      if (!seen_.insert(value).second) return Stop(Name() + " has the field " + value + " twice");
    }
    return true;
  }
  bool end_object() override {
    if (state_ == State::kTensor) {
      if (seen_.size() != 3 || offsets_ != 2)
        return Stop(Name() + " lacks dtype, shape or one of its two data_offsets");
      tensors.push_back(std::move(current_));
      return Enter(State::kTop);
    }
    return Enter(state_ == State::kMetadata ? State::kTop : State::kEnd);
  }
  bool start_array(std::size_t) override {
    if (state_ == State::kTensor && key_.text == "shape") return Enter(State::kShape);
    if (state_ == State::kTensor && key_.text == "data_offsets") return Enter(State::kOffsets);
    return Unexpected("an array");
  }
  bool end_array() override { return Enter(State::kTensor); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return Stop("the JSON is malformed at byte " + std::to_string(position));
  }

 private:
  enum class State { kBegin, kTop, kMetadata, kTensor, kShape, kOffsets, kEnd };
  struct Key {
    std::string text;
    bool empty_key = true;
  };
  bool Enter(State state) {
    state_ = state;
    return true;
  }
  bool Stop(std::string why) {
    problem = std::move(why);
    return false;
  }
  bool Unexpected(const char* what) {
    const std::string where = state_ == State::kBegin || state_ == State::kEnd ? "at the top"
                              : state_ == State::kTop      ? "as the value of \"" + Show(key_.text) + "\""
                              : state_ == State::kMetadata ? "in __metadata__, where only strings may be"
                                                           : "in " + Name();
    return Stop(std::string(what) + " " + where);
  }
  static std::string Show(const std::string& text) { return text.size() <= 80 ? text : text.substr(0, 77) + "..."; }
  std::string Name() const { return "tensor \"" + Show(current_.spec.name) + "\""; }

  State state_ = State::kBegin;
  Key key_;
  TensorPlace current_;
  int offsets_ = 0;
  std::set<std::string> seen_;
  std::unordered_set<std::string> names_;
};

std::uint64_t BytesOf(const TensorSpec& spec) {
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(static_cast<std::uint64_t>(ElementCount(spec.shape)), SizeOf(spec.dtype), &bytes)) {
    throw FormatError("tensor \"" + spec.name + "\" of shape " + ToString(spec.shape) + " has more than 2^64 bytes");
  }
  return bytes;
}

}  // namespace

SafetensorsHeader ParseSafetensorsHeader(std::string_view json, std::uint64_t data_bytes, std::string_view source) {
  const auto fail = [&](const std::string& why) -> FormatError {
    return FormatError(std::string(source) + ": not a valid safetensors header: " + why +
                       ". The file is damaged or of another format; write it again.");
  };
  if (json.empty() || json.front() != '{') throw fail("it does not begin with '{'");
  HeaderHandler handler;
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), &handler)) throw fail(handler.problem);

  SafetensorsHeader header{std::move(handler.tensors), std::move(handler.metadata), data_bytes};
  std::sort(header.tensors.begin(), header.tensors.end(), [](const TensorPlace& a, const TensorPlace& b) {
    return std::tie(a.begin, a.end, a.spec.name) < std::tie(b.begin, b.end, b.spec.name);
  });
  std::uint64_t at = 0;
  for (const TensorPlace& tensor : header.tensors) {
    const std::string name = "tensor \"" + tensor.spec.name.substr(0, 80) + "\"";
    std::uint64_t wanted = 0;
    try {
      wanted = BytesOf(tensor.spec);
    } catch (const FormatError& error) {
      throw fail(error.what());
    }
    if (tensor.end < tensor.begin || tensor.end - tensor.begin != wanted) {
      throw fail(name + " has " + std::to_string(wanted) + " bytes by its shape, but data_offsets [" +
                 std::to_string(tensor.begin) + ", " + std::to_string(tensor.end) + "]");
    }
    if (tensor.begin != at) {
      throw fail(name + " begins at byte " + std::to_string(tensor.begin) +
                 (tensor.begin < at ? ", inside the tensor before it" : ", after a hole") + " (expected " +
                 std::to_string(at) + ")");
    }
    at = tensor.end;
  }
  if (at != data_bytes) {
    throw fail("the tensors take " + std::to_string(at) + " bytes, but " + std::to_string(data_bytes) +
               " follow the header");
  }
  return header;
}

SafetensorsHeader PlaceTensors(const std::vector<TensorSpec>& specs, Metadata metadata) {
  SafetensorsHeader header;
  header.metadata = std::move(metadata);
  std::unordered_set<std::string> names;
  // The place among `specs` decides between equals.
  std::vector<std::pair<int, std::size_t>> order;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const TensorSpec& spec = specs[i];
    if (spec.name == "__metadata__") throw FormatError("the tensor name \"__metadata__\" is reserved");
    if (!names.insert(spec.name).second) throw FormatError("two tensors are named \"" + spec.name + "\"");
    order.emplace_back(-2 * static_cast<int>(SizeOf(spec.dtype)) - (spec.dtype == DType::kF32 ? 1 : 0), i);
  }
  std::sort(order.begin(), order.end());
  for (const auto& [rank, place] : order) header.tensors.push_back({specs[place], 0, 0});
  for (TensorPlace& tensor : header.tensors) {
    tensor.begin = header.data_bytes;
    if (__builtin_add_overflow(tensor.begin, BytesOf(tensor.spec), &tensor.end) ||
        tensor.end > static_cast<std::uint64_t>(PTRDIFF_MAX) - 2 * kHeaderBytesMax) {
      throw FormatError("the tensors together are larger than any address space");
    }
    header.data_bytes = tensor.end;
  }
  return header;
}

std::string WriteSafetensorsHeader(const SafetensorsHeader& header) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!header.metadata.empty()) json["__metadata__"] = header.metadata;
  for (const TensorPlace& tensor : header.tensors) {
    json[tensor.spec.name] = {{"dtype", NameOf(tensor.spec.dtype)},
                              {"shape", tensor.spec.shape},
                              {"data_offsets", {tensor.begin, tensor.end}}};
  }
  std::string text;
  try {
    text = json.dump();
  } catch (const nlohmann::json::exception&) {
    throw FormatError("a tensor's name or a metadata text is not UTF-8, which safetensors requires");
  }
  text.append((kDataAlignment - (kLengthBytes + text.size()) % kDataAlignment) % kDataAlignment, ' ');
  if (text.size() > kHeaderBytesMax) throw FormatError("the header would exceed the format's 100 MB");
  std::string image(kLengthBytes, '\0');
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    image[i] = static_cast<char>(static_cast<std::uint64_t>(text.size()) >> (8 * i));
  }
  return image + text;
}

}  // namespace sheaf::ml

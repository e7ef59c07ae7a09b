// Every kind of value that can be sent, through its stored form and back.
#include <gtest/gtest.h>

#include <chrono>
#include <complex>
#include <deque>
#include <list>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <variant>

#include "sheaf/sheaf.h"
#include "tests/support/in_process_abi.h"

namespace sheaf {
namespace {

enum class Colour : std::uint8_t { kRed, kGreen };
struct Point {
  double x, y, z;
  friend bool operator==(const Point&, const Point&) = default;
};
struct Everything {
  std::string name;
  std::optional<int> maybe;
  std::variant<int, std::string> either;
  std::vector<std::string> words;
  std::map<std::string, std::vector<int>> index;
  std::pair<int, std::string> pair;
  std::tuple<int, std::string> tuple;
  std::array<std::string, 2> two;
  Point point;
  Colour colour = Colour::kRed;
  const int fixed = 3;
  friend bool operator==(const Everything&, const Everything&) = default;
};
struct Node {
  int value = 0;
  std::vector<Node> children;
  friend bool operator==(const Node&, const Node&) = default;
};
struct Empty {
  friend bool operator==(const Empty&, const Empty&) = default;
};
class NoDefault {
 public:
  explicit NoDefault(int value) : value_(value) {}
  int value() const { return value_; }

 private:
  int value_;
};
class Matrix {
 public:
  Matrix() = default;
  Matrix(int rows, std::vector<float> values) : rows_(rows), values_(std::move(values)) {}
  static auto Fields(auto& self) { return std::tie(self.rows_, self.values_); }
  friend bool operator==(const Matrix&, const Matrix&) = default;

 private:
  int rows_ = 0;
  std::vector<float> values_;
};
struct Message {  // shaped like what protoc generates
  std::string text;
  std::size_t ByteSizeLong() const { return text.size(); }
  bool SerializeToArray(void* to, int size) const {
    std::memcpy(to, text.data(), static_cast<std::size_t>(size));
    return true;
  }
  bool ParseFromArray(const void* from, int size) {
    text.assign(static_cast<const char*>(from), static_cast<std::size_t>(size));
    return text != "bad";
  }
};

template <class T>
T RoundTrip(const T& value) {
  return Put(value).Get();
}
template <class T>
void ExpectSame(const T& value) {
  EXPECT_EQ(RoundTrip(value), value);
}

}  // namespace
}  // namespace sheaf

template <>
struct sheaf::Serializer<sheaf::NoDefault> {
  static constexpr std::uint32_t kVersion = 2;
  static void Write(Writer& out, const NoDefault& value) { out(value.value()); }
  static NoDefault Read(Reader& in, std::uint32_t version) {
    return NoDefault(in.Read<int>() + (version < 2 ? 1000 : 0));
  }
};

namespace sheaf {
namespace {

TEST(Codec, NumbersEnumsAndPlainStructsAreTheirBytes) {
  ExpectSame(42);
  ExpectSame(true);
  ExpectSame(-2.5L);
  ExpectSame(Colour::kGreen);
  ExpectSame(std::complex<float>(1, 2));
  ExpectSame(std::array<int, 3>{1, 2, 3});
  ExpectSame(Point{1, 2, 3});
  EXPECT_EQ(in_process::PayloadOf(detail::RefAccess::Core(Put(Point{1, 2, 3}))).size(), 4 + 24u);
}

TEST(Codec, AggregatesAreTakenApartFieldByField) {
  ExpectSame(Everything{
      "n", 7, "x", {"a", "", "ccc"}, {{"k", {1, 2}}}, {1, "p"}, {2, "t"}, {"u", "v"}, {1, 2, 3}, Colour::kGreen});
  ExpectSame(Everything{{}, {}, 4, {}, {}, {}, {}, {}, {}});
  ExpectSame(Empty{});
  ExpectSame(std::vector<Empty>(3));
}

TEST(Codec, ATypeMayContainItself) { ExpectSame(Node{1, {{2, {{3, {}}}}, {4, {}}}}); }

TEST(Codec, StandardContainersKeepTheirElements) {
  ExpectSame(std::vector<bool>{true, false, true});
  ExpectSame(std::vector<bool>(5000, true));
  ExpectSame(std::deque<std::string>{"a", "b"});
  ExpectSame(std::list<int>{1, 2, 3});
  ExpectSame(std::set<std::string>{"x", "y"});
  ExpectSame(std::multimap<int, int>{{1, 2}, {1, 3}});
  ExpectSame(std::unordered_map<std::string, Point>{{"a", {1, 2, 3}}});
  ExpectSame(std::vector<std::vector<int>>{{1}, {}, {2, 3}});
  ExpectSame(std::u16string(u"wide"));
}

TEST(Codec, TimesAndPointersAndVariantsSurvive) {
  ExpectSame(std::chrono::milliseconds(5));
  ExpectSame(std::chrono::system_clock::time_point(std::chrono::seconds(9)));
  ExpectSame(std::variant<std::monostate, int>{});
  ExpectSame(std::tuple<>{});
  EXPECT_EQ(*RoundTrip(std::make_unique<Point>(Point{4, 5, 6})), (Point{4, 5, 6}));
  EXPECT_EQ(RoundTrip(std::unique_ptr<int>()), nullptr);
}

TEST(Codec, ClassesNameTheirFieldsOrHaveASerializer) {
  ExpectSame(Matrix(2, {1, 2, 3, 4}));
  EXPECT_EQ(RoundTrip(NoDefault(8)).value(), 8);
  EXPECT_EQ(RoundTrip(std::vector<NoDefault>(2, NoDefault(9)))[1].value(), 9);
  EXPECT_EQ(RoundTrip(Message{"protobuf"}).text, "protobuf");
}

TEST(Codec, AnOlderVersionIsReadAndANewerOneRefused) {
  auto payload = in_process::PayloadOf(detail::RefAccess::Core(Put(NoDefault(8))));
  payload[4] = std::byte{1};
  const auto old = detail::RefAccess::Make<NoDefault>(in_process::MakeObject(payload));
  EXPECT_EQ(old.Get().value(), 1008);
  payload[4] = std::byte{3};
  const auto newer = detail::RefAccess::Make<NoDefault>(in_process::MakeObject(payload));
  EXPECT_THROW(newer.Get(), FormatError);
}

TEST(Codec, TupleElementsAreReadAlone) {
  const auto ref = Put(std::tuple<int, std::vector<float>, std::tuple<std::string, int>>{
      5, std::vector<float>(1000, 2.f), {"inner", 6}});
  const auto [number, list, inner] = ref;
  EXPECT_EQ(number.Get(), 5);
  EXPECT_EQ(list.Get().size(), 1000u);
  EXPECT_EQ(std::get<0>(inner.Get()), "inner");
  EXPECT_EQ(std::get<1>(std::get<2>(ref.Get())), 6);
  EXPECT_THROW(get<0>(inner), Error);
}

TEST(Codec, RefsInsideValuesKeepTheirObjectsAlive) {
  const auto objects = in_process::LiveObjects();
  ObjectRef<std::vector<ObjectRef<int>>> outer;
  {
    std::vector<ObjectRef<int>> inner{Put(1), Put(2)};
    outer = Put(inner);
  }
  EXPECT_EQ(outer.Get()[1].Get(), 2);
  outer = {};
  EXPECT_EQ(in_process::LiveObjects(), objects);
}

TEST(Codec, AValueReadAsAnotherTypeIsATypedErrorThatNamesBoth) {
  const auto ref = detail::RefAccess::Make<std::vector<float>>(detail::RefAccess::Core(Put(std::string("x"))));
  try {
    ref.Get();
    FAIL();
  } catch (const TypeMismatchError& error) {
    EXPECT_STREQ(error.what(), "the stored value is a std::string, but it is read as a std::vector<float>");
  }
  const auto tuple = detail::RefAccess::Make<std::tuple<int, int>>(detail::RefAccess::Core(Put(std::string("x"))));
  EXPECT_THROW(tuple.Get(), TypeMismatchError);
}

TEST(Codec, EveryTruncationOfAValueIsAnError) {
  const Everything value{"name",   7,        "x",        {"a", "", "ccc"}, {{"k", {1, 2}}},
                         {1, "p"}, {2, "t"}, {"u", "v"}, {1, 2, 3},        Colour::kGreen};
  const auto payload = in_process::PayloadOf(detail::RefAccess::Core(Put(value)));
  for (std::size_t size = 0; size < payload.size(); ++size) {
    const auto cut = in_process::MakeObject(std::span(payload).first(size));
    EXPECT_THROW(detail::RefAccess::Make<Everything>(cut).Get(), Error) << size;
  }
}

TEST(Codec, NoByteOfAPayloadCanMakeAReaderCrash) {
  const std::vector<std::vector<std::string>> value{{"ab", "c"}, {}, {"defg"}};
  const auto payload = in_process::PayloadOf(detail::RefAccess::Core(Put(value)));
  for (std::size_t at = 4; at < payload.size(); ++at) {
    for (const int bits : {0x01, 0x80, 0xff}) {
      auto bent = payload;
      bent[at] ^= static_cast<std::byte>(bits);
      try {
        detail::RefAccess::Make<std::vector<std::vector<std::string>>>(in_process::MakeObject(bent)).Get();
      } catch (const Error&) {  // refused, or read as other text: both are fine
      }
    }
  }
}

TEST(Codec, AThirtyTwoFieldStructIsTheLargest) {
  struct Wide {
    std::string a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15;
    int b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, b13, b14, b15;
  };
  Wide wide{};
  wide.a15 = "last string";
  wide.b15 = 15;
  const Wide back = RoundTrip(wide);
  EXPECT_EQ(back.a15, "last string");
  EXPECT_EQ(back.b15, 15);
  static_assert(detail::kFieldCount<Wide> == 32);
}

}  // namespace
}  // namespace sheaf

#include "sheaf/ml/idx.h"

#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <random>

namespace sheaf::ml {
namespace {

class Idx : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "sheaf_idx_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // Two zeros, type, rank, extents, elements.
  static std::string Image(char type, std::initializer_list<std::uint32_t> shape, const std::string& elements) {
    std::string image{'\0', '\0', type, static_cast<char>(shape.size())};
    for (const std::uint32_t extent : shape) {
      for (int shift = 24; shift >= 0; shift -= 8) image += static_cast<char>(extent >> shift);
    }
    return image + elements;
  }
  std::filesystem::path Plain(const std::string& bytes) {
    std::ofstream(folder_ / "plain.idx", std::ios::binary) << bytes;
    return folder_ / "plain.idx";
  }
  std::filesystem::path Zipped(const std::string& bytes) {
    const auto path = folder_ / "zipped.gz";
    gzFile file = gzopen(path.c_str(), "wb");
    gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
    gzclose(file);
    return path;
  }
  static std::string Complaint(const std::filesystem::path& path) {
    try {
      ReadIdx(path);
      return "";
    } catch (const FormatError& error) {
      EXPECT_NE(std::string(error.what()).find(path.filename().string()), std::string::npos) << error.what();
      return error.what();
    }
  }
  std::filesystem::path folder_;
};

TEST_F(Idx, ReadsBytesPlainAndCompressed) {
  const std::string image = Image(0x08, {2, 3}, std::string("\1\2\3\4\5\6"));
  for (const auto& path : {Plain(image), Zipped(image)}) {
    const Tensor tensor = ReadIdx(path);
    EXPECT_EQ(tensor.dtype(), DType::kU8);
    EXPECT_EQ(tensor.shape(), (Shape{2, 3}));
    EXPECT_EQ(tensor.view<std::uint8_t>()(1, 2), 6);
  }
}

TEST_F(Idx, ConvertsBigEndianElements) {
  const Tensor ints = ReadIdx(Plain(Image(0x0C, {2}, std::string("\0\0\1\2\xff\xff\xff\xfe", 8))));
  EXPECT_EQ(ints.span<std::int32_t>()[0], 258);
  EXPECT_EQ(ints.span<std::int32_t>()[1], -2);
  const Tensor floats = ReadIdx(Plain(Image(0x0D, {1}, std::string("\x3f\xc0\0\0", 4))));
  EXPECT_EQ(floats.span<float>()[0], 1.5f);
  const Tensor doubles = ReadIdx(Plain(Image(0x0E, {1}, std::string("\xbf\xf8\0\0\0\0\0\0", 8))));
  EXPECT_EQ(doubles.span<double>()[0], -1.5);
}

TEST_F(Idx, RefusesATruncatedFile) {
  const std::string image = Image(0x08, {4, 4}, std::string(16, 'x'));
  for (std::size_t size = 0; size < image.size(); ++size) {
    EXPECT_NE(Complaint(Plain(image.substr(0, size))).find("short"), std::string::npos) << size;
  }
  const auto zipped = Zipped(Image(0x08, {1000}, [] {
    std::string noise(1000, '\0');
    std::mt19937 generator(1);
    for (char& c : noise) c = static_cast<char>(generator());
    return noise;
  }()));
  const auto whole = std::filesystem::file_size(zipped);
  for (std::uintmax_t cut = 1; cut < whole; cut += cut < 20 ? 1 : 37) {
    std::filesystem::copy_file(zipped, folder_ / "cut.gz", std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(folder_ / "cut.gz", whole - cut);
    EXPECT_NE(Complaint(folder_ / "cut.gz"), "") << cut << " bytes cut off";
  }
}

TEST_F(Idx, RefusesBytesThatAreLeftOver) {
  EXPECT_NE(Complaint(Plain(Image(0x08, {2}, "abc"))).find("left over"), std::string::npos);
  EXPECT_NE(Complaint(Zipped(Image(0x08, {2}, "abc"))).find("left over"), std::string::npos);
}

TEST_F(Idx, RefusesCorruptedCompression) {
  const auto path = Zipped(Image(0x08, {5000}, std::string(5000, 'a')));
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(-8, std::ios::end);  // the checksum
  file.put('\x55');
  file.put('\x55');
  file.close();
  EXPECT_NE(Complaint(path).find("damaged"), std::string::npos);
}

TEST_F(Idx, RefusesHeadersThatClaimTooMuchOrTheWrongThing) {
  EXPECT_NE(Complaint(Plain(Image(0x08, {0x7fffffff, 0xffffffff}, ""))).find("can hold"), std::string::npos);
  EXPECT_NE(Complaint(Plain(Image(0x0E, {0xffffffff, 0xffffffff, 0xffffffff}, ""))), "");
  EXPECT_NE(Complaint(Plain(Image(0x0A, {1}, "a"))).find("type 10"), std::string::npos);
  EXPECT_NE(Complaint(Plain(Image(0x08, {}, "a"))).find("axes"), std::string::npos);
  EXPECT_NE(Complaint(Plain(Image(0x08, {1, 1, 1, 1, 1, 1, 1, 1, 1}, "a"))).find("9 axes"), std::string::npos);
  EXPECT_NE(Complaint(Plain("a text file, not data")).find("two zero bytes"), std::string::npos);
}

TEST_F(Idx, RefusesMissingFilesAndFolders) {
  EXPECT_THROW(ReadIdx(folder_ / "missing"), Error);
  EXPECT_THROW(ReadIdx(folder_), Error);
}

TEST_F(Idx, ReadsAnEmptyAxis) {
  const Tensor tensor = ReadIdx(Plain(Image(0x08, {0, 28}, "")));
  EXPECT_EQ(tensor.size(), 0u);
  EXPECT_TRUE(tensor.span<std::uint8_t>().empty());
}

TEST_F(Idx, SurvivesRandomDamage) {
  const auto path = Zipped(Image(0x08, {300, 2}, std::string(600, 'q')));
  std::ifstream stream(path, std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(stream)), {});
  std::mt19937 generator(3);
  for (int round = 0; round < 300; ++round) {
    std::string bad = good;
    bad[generator() % bad.size()] = static_cast<char>(generator());
    Complaint(Plain(bad));
  }
}

}  // namespace
}  // namespace sheaf::ml

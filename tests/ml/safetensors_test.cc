// Files on disk, good and bad. Bad ones are made by changing one thing in a good one.
#include "sheaf/ml/safetensors.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "ml/safetensors_header.h"
#include "sheaf/error.h"

namespace sheaf::ml {
namespace {

class Folder : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "sheaf_safetensors_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path Write(const std::string& json, const std::string& data) {
    std::string image(8, '\0');
    const std::uint64_t size = json.size();
    std::memcpy(image.data(), &size, 8);
    return WriteBytes(image + json + data);
  }
  std::filesystem::path WriteBytes(const std::string& bytes) {
    const auto path = folder_ / "file.safetensors";
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  // What reading the file complains about; empty when it is read.
  static std::string Complaint(const std::filesystem::path& path) {
    try {
      ReadSafetensors(path);
      return "";
    } catch (const FormatError& error) {
      EXPECT_NE(std::string(error.what()).find(path.filename().string()), std::string::npos) << error.what();
      return error.what();
    }
  }
  void ExpectComplaint(const std::string& json, const std::string& data, const std::string& about) {
    const std::string complaint = Complaint(Write(json, data));
    EXPECT_NE(complaint.find(about), std::string::npos) << "json: " << json << "\nsaid: " << complaint;
  }

  std::filesystem::path folder_;
};
using Safetensors = Folder;

TEST_F(Safetensors, RoundTripKeepsNamesShapesValuesAndMetadata) {
  WeightsBuilder builder({{"a", DType::kF32, {2, 3}}, {"b", DType::kI64, {2}}, {"c", DType::kF32, {}}},
                         {{"format", "pt"}, {"note", "\"quoted\""}});
  for (std::size_t i = 0; i < 7; ++i) builder.Flat()[i] = static_cast<float>(i) * 1.5f;
  builder.span<std::int64_t>("b")[0] = -5;
  builder.span<std::int64_t>("b")[1] = 1ll << 60;
  const Weights written = std::move(builder).Seal();
  WriteSafetensors(written, folder_ / "w.safetensors");
  const Weights read = ReadSafetensors(folder_ / "w.safetensors");
  EXPECT_EQ(read.Specs(), written.Specs());
  EXPECT_EQ(read.Metadata(), written.Metadata());
  ASSERT_EQ(read.Flat().size(), 7u);
  for (std::size_t i = 0; i < 7; ++i) EXPECT_EQ(read.Flat()[i], static_cast<float>(i) * 1.5f);
  const Tensor b = read["b"];
  EXPECT_EQ(b.span<std::int64_t>()[1], 1ll << 60);
  EXPECT_EQ(read["c"].rank(), 0u);
  // No temporary file is left.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), std::filesystem::directory_iterator{}), 1);
}

TEST_F(Safetensors, ReadsAFileWhoseDataIsUnalignedAndInAnotherOrder) {
  // 1 byte of U8 puts the floats at an odd place.
  const float values[] = {1.25f, -2.5f};
  std::string data = "\x07";
  data.append(reinterpret_cast<const char*>(values), sizeof values);
  const auto path = Write(R"({"v":{"dtype":"F32","shape":[2],"data_offsets":[1,9]},)"
                          R"("u":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                          data);
  const Weights weights = ReadSafetensors(path);
  ASSERT_EQ(weights.Flat().size(), 2u);
  EXPECT_EQ(weights.Flat()[1], -2.5f);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(weights.Flat().data()) % 64, 0u);
  const Tensor u = weights["u"];
  EXPECT_EQ(u.span<std::uint8_t>()[0], 7);
}

TEST_F(Safetensors, AcceptsEmptyFilesOfTensorsAndEmptyTensors) {
  EXPECT_EQ(Complaint(Write("{}", "")), "");
  EXPECT_EQ(Complaint(Write("{}      ", "")), "");
  EXPECT_EQ(Complaint(Write(R"({"e":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]}})", "")), "");
  WriteSafetensors(Weights(), folder_ / "empty");
  EXPECT_TRUE(ReadSafetensors(folder_ / "empty").Specs().empty());
}

TEST_F(Safetensors, RefusesATruncatedFileAtEveryLength) {
  WeightsBuilder builder({{"a", DType::kF32, {4}}});
  for (float& value : builder.Flat()) value = 1;
  WriteSafetensors(std::move(builder).Seal(), folder_ / "whole");
  const auto whole = std::filesystem::file_size(folder_ / "whole");
  for (std::uintmax_t size = 0; size < whole; ++size) {
    std::filesystem::copy_file(folder_ / "whole", folder_ / "cut", std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(folder_ / "cut", size);
    EXPECT_NE(Complaint(folder_ / "cut"), "") << size << " of " << whole << " bytes";
  }
}

TEST_F(Safetensors, RefusesLengthsThatTheFileCannotHold) {
  for (const std::uint64_t length :
       {std::uint64_t{3}, std::uint64_t{100'000'001}, ~std::uint64_t{0}, ~std::uint64_t{0} - 7}) {
    std::string image(8, '\0');
    std::memcpy(image.data(), &length, 8);
    EXPECT_NE(Complaint(WriteBytes(image + "{}")), "") << length;
  }
}

TEST_F(Safetensors, RefusesHolesOverlapsAndLeftovers) {
  const std::string data(16, '\0');
  ExpectComplaint(
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
      data, "after a hole");
  ExpectComplaint(
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[3],"data_offsets":[4,16]}})",
      data, "inside the tensor before it");
  ExpectComplaint(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", data, "16 follow the header");
  ExpectComplaint(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[4,20]}})", data, "after a hole");
}

TEST_F(Safetensors, RefusesSizesThatOverflowOrContradictEachOther) {
  const std::string data(8, '\0');
  ExpectComplaint(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", data, "12 bytes by its shape");
  ExpectComplaint(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", data, "data_offsets [8, 0]");
  ExpectComplaint(R"({"a":{"dtype":"F64","shape":[4611686018427387904,4],"data_offsets":[0,8]}})", data, "2^63");
  ExpectComplaint(R"({"a":{"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,8]}})", data, "2^64");
  ExpectComplaint(R"({"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8]}})", data, "2^63");
  ExpectComplaint(R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8]}})", data, "fraction");
  ExpectComplaint(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", data, "negative");
}

TEST_F(Safetensors, RefusesDuplicateNamesAndFields) {
  const std::string data(4, '\0');
  ExpectComplaint(
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
      data, "appears twice");
  ExpectComplaint(R"({"a":{"dtype":"F32","dtype":"U8","shape":[1],"data_offsets":[0,4]}})", data, "dtype twice");
  ExpectComplaint(R"({"__metadata__":{"k":"1","k":"2"}})", "", "twice");
}

TEST_F(Safetensors, RefusesJsonOfAnotherShape) {
  for (const char* json : {"",
                           " {}",
                           "[]",
                           "{",
                           "{}{}",
                           "{\"a\":1}",
                           "{\"a\":null}",
                           "{\"a\":[]}",
                           "{\"a\":\"text\"}",
                           R"({"a":{}})",
                           R"({"a":{"dtype":"F32"}})",
                           R"({"a":{"dtype":"F33","shape":[],"data_offsets":[0,4]}})",
                           R"({"a":{"dtype":4,"shape":[],"data_offsets":[0,4]}})",
                           R"({"a":{"dtype":"F32","shape":{},"data_offsets":[0,4]}})",
                           R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})",
                           R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})",
                           R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})",
                           R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1}})",
                           R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})",
                           R"({"__metadata__":{"k":1}})",
                           R"({"__metadata__":{"k":{"l":"m"}}})",
                           R"({"__metadata__":"x"})",
                           "{\"\xff\":{}}"}) {
    EXPECT_NE(Complaint(Write(json, std::string(4, '\0'))), "") << json;
  }
}

TEST_F(Safetensors, SurvivesDeepNestingAndRandomDamage) {
  EXPECT_NE(Complaint(Write("{\"a\":" + std::string(1 << 20, '['), "")), "");
  WeightsBuilder builder({{"layer.weight", DType::kF32, {3, 4}}, {"layer.bias", DType::kF64, {4}}}, {{"k", "v"}});
  std::memset(builder.bytes("layer.weight").data(), 1, 48);
  std::memset(builder.bytes("layer.bias").data(), 1, 32);
  WriteSafetensors(std::move(builder).Seal(), folder_ / "good");
  std::ifstream stream(folder_ / "good", std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(stream)), {});
  std::mt19937 generator(7);
  for (int round = 0; round < 300; ++round) {
    std::string bad = good;
    for (unsigned change = generator() % 3 + 1; change > 0; --change) {
      bad[generator() % bad.size()] = static_cast<char>(generator());
    }
    Complaint(WriteBytes(bad));  // an error or not: neither a crash nor another exception
  }
}

TEST_F(Safetensors, MissingFilesFoldersAndPipesAreErrorsNotHangs) {
  EXPECT_THROW(ReadSafetensors(folder_ / "missing"), Error);
  EXPECT_THROW(ReadSafetensors(folder_), Error);
  ASSERT_EQ(mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_THROW(ReadSafetensors(folder_ / "pipe"), Error);
  EXPECT_THROW(WriteSafetensors(Weights(), folder_ / "no" / "such" / "folder"), Error);
}

TEST_F(Safetensors, AFailedWriteLeavesTheOldFileAndNothingElse) {
  std::filesystem::create_directory(folder_ / "target");  // renaming a file over a folder fails
  std::ofstream(folder_ / "target" / "inside") << "x";
  EXPECT_THROW(WriteSafetensors(Weights(), folder_ / "target"), Error);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "target" / "inside"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), std::filesystem::directory_iterator{}), 1);
}

TEST(SafetensorsHeader, PadsSoThatDataIsAligned) {
  for (std::size_t length = 1; length < 130; ++length) {
    const auto header = PlaceTensors({{std::string(length, 'n'), DType::kF32, {3}}}, {});
    EXPECT_EQ(WriteSafetensorsHeader(header).size() % 64, 0u) << length;
  }
}

TEST(SafetensorsHeader, PlacesLargeElementsFirstAndFloatsTogether) {
  const auto header = PlaceTensors({{"u8", DType::kU8, {3}},
                                    {"f32", DType::kF32, {1}},
                                    {"i32", DType::kI32, {1}},
                                    {"f64", DType::kF64, {1}},
                                    {"more", DType::kF32, {2}}},
                                   {});
  std::string order;
  for (const auto& tensor : header.tensors) order += tensor.spec.name + " ";
  EXPECT_EQ(order, "f64 f32 more i32 u8 ");
  EXPECT_THROW(PlaceTensors({{"a", DType::kF32, {1}}, {"a", DType::kF32, {1}}}, {}), FormatError);
  EXPECT_THROW(PlaceTensors({{"__metadata__", DType::kF32, {1}}}, {}), FormatError);
  EXPECT_THROW(PlaceTensors({{"a", DType::kF32, {-1}}}, {}), FormatError);
}

}  // namespace
}  // namespace sheaf::ml

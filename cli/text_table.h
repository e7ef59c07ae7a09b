// Tables for people: columns as wide as their widest cell, no trailing blanks.
#pragma once

#include <string>
#include <vector>

namespace sheaf::cli {

struct Column {
  const char* title;
  bool right;
};
std::string Table(const std::vector<Column>& columns, const std::vector<std::vector<std::string>>& rows);

// Whatever a daemon calls itself must not move the cursor of the terminal that shows it.
std::string Printable(std::string text);

}  // namespace sheaf::cli

// The table of functions and the names of stored forms.
//
// Names are for people; identity within one program is the index, checked by the digest of name and
// signature, since functions with internal linkage may share a name.
#include "runtime/typed/registry.h"

#include <cxxabi.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "sheaf/detail/form.h"
#include "sheaf/error.h"

namespace sheaf::detail {
namespace {

struct Table {
  std::mutex mutex;
  std::deque<Function> functions;              // a deque: entries stay where they are
  std::map<std::uint32_t, std::string> forms;  // mark -> mangled name
  // For look-ups without the mutex: every task needs one. An array that has become too small stays for whoever reads it.
  std::vector<std::unique_ptr<const Function*[]>> arrays;
  std::size_t capacity = 0;
  std::atomic<const Function**> array{nullptr};
  std::atomic<std::uint32_t> count{0};
};
// Never destroyed: tasks may still be described while the process exits.
Table& TheTable() {
  static Table* const table = new Table;
  return *table;
}

std::string Demangle(std::string_view mangled) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(
      abi::__cxa_demangle(std::string(mangled).c_str(), nullptr, nullptr, &status), std::free);
  return status == 0 ? std::string(name.get()) : std::string(mangled);
}

void ReplaceAll(std::string& text, std::string_view what, std::string_view with) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size()) {
    text.replace(at, what.size(), with);
  }
}

// Where the template argument list that opens at `open` closes; npos if it does not.
std::size_t ClosingBracket(const std::string& text, std::size_t open) {
  int depth = 0;
  for (std::size_t i = open; i < text.size(); ++i) {
    if (text[i] == '<') ++depth;
    if (text[i] == '>' && --depth == 0) return i;
  }
  return std::string::npos;
}

// Removes ", <argument>..." where the argument begins with `begin`: allocators, comparators, hashes.
void DropArguments(std::string& text, std::string_view begin) {
  for (std::size_t at = 0; (at = text.find(begin, at)) != std::string::npos;) {
    const std::size_t close = ClosingBracket(text, at + begin.size() - 1);
    if (close == std::string::npos) return;
    text.erase(at, close + 1 - at);
    while (at < text.size() && text[at] == ' ') text.erase(at, 1);
  }
}

// "ListForm<float>" is how std::vector<float> and Array<float> are stored; say what people wrote.
std::string ReadableForm(const std::string& mangled) {
  std::string text = ReadableType(mangled);
  ReplaceAll(text, "sheaf::detail::ListForm<char>", "std::string");
  ReplaceAll(text, "sheaf::detail::ListForm<", "std::vector<");
  ReplaceAll(text, "sheaf::detail::RefForm<", "sheaf::ObjectRef<");
  return text;
}

std::string Describe(const Function& function) {
  return ReadableFunctionName(function.name) + ": " + ReadableType(function.signature);
}

}  // namespace

std::string ReadableType(std::string_view mangled) {
  std::string text = Demangle(mangled);
  ReplaceAll(text, "std::__cxx11::", "std::");
  ReplaceAll(text, "std::basic_string<char, std::char_traits<char>, std::allocator<char> >", "std::string");
  ReplaceAll(text, "std::basic_string_view<char, std::char_traits<char> >", "std::string_view");
  for (const std::string_view dropped : {", std::allocator<", ", std::less<", ", std::hash<", ", std::equal_to<",
                                         ", std::default_delete<", ", std::char_traits<"}) {
    DropArguments(text, dropped);
  }
  ReplaceAll(text, " >", ">");
  ReplaceAll(text, "(anonymous namespace)::", "");
  return text;
}

std::string ReadableFunctionName(std::string_view mangled) {
  std::string text = ReadableType(mangled);
  constexpr std::string_view kBegin = "sheaf::detail::FunctionTag<";
  if (text.starts_with(kBegin) && text.ends_with('>')) {
    text = text.substr(kBegin.size(), text.size() - kBegin.size() - 1);
  }
  // A lambda is named by its closure, "main::{lambda(int)#1}{}"; a function as "&Add(int, int)" or "(&Add)".
  if (text.ends_with("{}")) text.resize(text.size() - 2);
  if (text.starts_with('&')) text.erase(0, 1);
  if (text.starts_with("(&") && text.ends_with(')')) text = text.substr(2, text.size() - 3);
  if (text.ends_with(')') && text.find('{') == std::string::npos) {
    std::size_t open = text.size();
    for (int depth = 0; open > 0;) {
      --open;
      if (text[open] == ')') ++depth;
      if (text[open] == '(' && --depth == 0) break;
    }
    if (open > 0) text.resize(open);
  }
  return text;
}

std::uint32_t RegisterFunction(const Function& function) {
  Table& table = TheTable();
  const std::lock_guard lock(table.mutex);
  const std::uint32_t index = table.count.load(std::memory_order_relaxed);
  if (index == table.capacity) {
    table.capacity = std::max<std::size_t>(64, 2 * table.capacity);
    table.arrays.push_back(std::make_unique<const Function*[]>(table.capacity));
    const Function** larger = table.arrays.back().get();
    std::copy_n(table.array.load(std::memory_order_relaxed), index, larger);
    table.array.store(larger, std::memory_order_release);
  }
  table.functions.push_back(function);
  table.array.load(std::memory_order_relaxed)[index] = &table.functions.back();
  table.count.store(index + 1, std::memory_order_release);
  return index;
}

const Function* FunctionAt(std::uint32_t index) {
  const Table& table = TheTable();
  const std::uint32_t count = table.count.load(std::memory_order_acquire);
  return index < count ? table.array.load(std::memory_order_acquire)[index] : nullptr;
}

std::uint32_t FunctionCount() { return TheTable().count.load(std::memory_order_acquire); }

namespace {
constexpr std::string_view kNumbered = "function ", kNotHere = " (not in this program)";
}  // namespace

std::string DescribeFunction(std::uint32_t index) {
  const Function* function = FunctionAt(index);
  return function ? Describe(*function) : std::string(kNumbered) + std::to_string(index) + std::string(kNotHere);
}

std::string NameHere(std::string described) {
  const std::string_view text = described;
  if (!text.starts_with(kNumbered) || !text.ends_with(kNotHere)) return described;
  std::uint32_t index = 0;
  const char* end = text.data() + text.size() - kNotHere.size();
  const auto [stop, fault] = std::from_chars(text.data() + kNumbered.size(), end, index);
  return fault == std::errc() && stop == end ? DescribeFunction(index) : described;
}

const Function& RequireFunction(std::uint32_t index, std::uint64_t digest) {
  const Function* function = FunctionAt(index);
  if (!function) {
    const std::uint32_t count = FunctionCount();
    throw FunctionNotFoundError("the task's function has number " + std::to_string(index) +
                                ", but this program registers " + std::to_string(count) + " functions" +
                                (count ? "; the last is " + DescribeFunction(count - 1) : std::string()) +
                                "; the driver runs another build: start both from one executable");
  }
  if (function->digest != digest) {
    // The same function may have another number here, if the two programs were linked in another order.
    const std::uint32_t count = FunctionCount();
    for (std::uint32_t i = 0; i < count; ++i) {
      const Function* other = FunctionAt(i);
      if (other->digest == digest) {
        throw TypeMismatchError("the driver calls " + Describe(*other) + ", which it knows as number " +
                                std::to_string(index) + "; here that is " + Describe(*function) +
                                "; start both from one executable");
      }
    }
    throw TypeMismatchError("the driver's function number " + std::to_string(index) +
                            " has another name or signature than this program's, which is " + Describe(*function) +
                            "; start both from one executable");
  }
  return *function;
}

std::uint32_t RegisterForm(const std::type_info& form) {
  const std::uint64_t hash = Fnv1a(form.name());
  auto mark = static_cast<std::uint32_t>(hash ^ (hash >> 32));
  Table& table = TheTable();
  const std::lock_guard lock(table.mutex);
  table.forms.emplace(mark, form.name());
  return mark;
}

void ThrowTypeMismatch(std::uint32_t wanted, std::uint32_t found) {
  Table& table = TheTable();
  const std::lock_guard lock(table.mutex);
  const auto name = [&table](std::uint32_t mark) {
    const auto form = table.forms.find(mark);
    return form == table.forms.end() ? std::string("of a type that this program does not know")
                                     : "a " + ReadableForm(form->second);
  };
  throw TypeMismatchError("the stored value is " + name(found) + ", but it is read as " + name(wanted));
}

}  // namespace sheaf::detail

// Errors as stored forms: how an exception leaves a worker and is thrown again by Get().
//
//   u8 version, kind, task, i32 attempt, u32 number, type, mangled type, message, via, then the bytes of a
//   registered exception
//
// Texts are u32 length and bytes, cut at 16 KiB, so that storing an error needs no block of the
// store. `kind` is the name of a class of error.h: TaskError for what users throw. `via` names the
// tasks that let it pass.
#include "sheaf/error.h"

#include <cxxabi.h>

#include <array>
#include <deque>
#include <mutex>
#include <optional>
#include <string>

#include "runtime/typed/registry.h"
#include "sheaf/detail/codec.h"
#include "sheaf/object_ref.h"
#include "sheaf/register_errors.h"

namespace sheaf::detail {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kTextMax = 16 * 1024;
constexpr std::string_view kTaskError = "TaskError";
constexpr std::uint32_t kUnregistered = ~std::uint32_t{0};

struct ErrorRecord {
  std::string kind{kTaskError};
  std::string task;
  std::int32_t attempt = 1;
  std::uint32_t number = kUnregistered;  // of the registered type
  std::string type, mangled, message, via;
};

void WriteText(Encoder& to, std::string_view text) {
  text = text.substr(0, kTextMax);
  WriteRaw(to, static_cast<std::uint32_t>(text.size()));
  to.Raw(text.data(), text.size());
}
std::string ReadText(Decoder& from) {
  const auto size = ReadRaw<std::uint32_t>(from);
  return {reinterpret_cast<const char*>(from.Take(size)), size};
}

void WriteRecord(Encoder& to, const ErrorRecord& record) {
  WriteRaw(to, kVersion);
  WriteText(to, record.kind);
  WriteText(to, record.task);
  WriteRaw(to, record.attempt);
  WriteRaw(to, record.number);
  WriteText(to, record.type);
  WriteText(to, record.mangled);
  WriteText(to, record.message);
  WriteText(to, record.via);
}
ErrorRecord ReadRecord(Decoder& from) {
  if (ReadRaw<std::uint8_t>(from) != kVersion) ThrowDamaged("an error of another version");
  ErrorRecord record;
  record.kind = ReadText(from);
  record.task = NameHere(ReadText(from));
  record.attempt = ReadRaw<std::int32_t>(from);
  record.number = ReadRaw<std::uint32_t>(from);
  record.type = ReadText(from);
  record.mangled = ReadText(from);
  record.message = ReadText(from);
  record.via = ReadText(from);
  return record;
}

struct ErrorTypes {
  std::mutex mutex;
  std::deque<ErrorType> types;
};
ErrorTypes& TheErrorTypes() {
  static ErrorTypes* const types = new ErrorTypes;  // never destroyed, as tasks may fail during exit
  return *types;
}
// The number of the type of an exception, or of the type mixed with its task. Compared as types, not by name: two
// files may have an internal type of one name.
std::uint32_t NumberOf(const std::type_info& thrown) {
  ErrorTypes& types = TheErrorTypes();
  const std::lock_guard lock(types.mutex);
  for (std::size_t i = 0; i < types.types.size(); ++i) {
    if (thrown == *types.types[i].thrown || thrown == *types.types[i].arrived) return static_cast<std::uint32_t>(i);
  }
  return kUnregistered;
}
ErrorType TypeAt(std::uint32_t number) {
  ErrorTypes& types = TheErrorTypes();
  const std::lock_guard lock(types.mutex);
  return types.types[number];
}
// In another process of this program, which numbers them alike if it registered them alike; else the name decides.
std::optional<ErrorType> FindErrorType(std::uint32_t number, std::string_view mangled) {
  ErrorTypes& types = TheErrorTypes();
  const std::lock_guard lock(types.mutex);
  if (number < types.types.size() && mangled == types.types[number].thrown->name()) return types.types[number];
  for (const ErrorType& type : types.types) {
    if (mangled == type.thrown->name()) return type;
  }
  return std::nullopt;
}

// "task 'Add', attempt 2, passed on by 'Sum'"
std::string Where(const ErrorRecord& record) {
  std::string where = "task '" + record.task + "'";
  if (record.attempt != 1) where += ", attempt " + std::to_string(record.attempt);
  if (!record.via.empty()) where += ", passed on by " + record.via;
  return where;
}

TaskInfo InfoOf(const ErrorRecord& record) { return {record.task, record.type, record.message, record.attempt}; }

// The runtime's own errors: class, name, and how they are thrown again.
struct RuntimeKind {
  std::string_view name;
  bool (*is_in_flight)();
  void (*raise)(const ErrorRecord& record);
};
template <class E>
bool IsInFlight() {
  try {
    throw;
  } catch (const E&) {
    return true;
  } catch (...) {
    return false;
  }
}
template <class E>
void RaiseKind(const ErrorRecord& record) {
  if (record.task.empty()) throw E(record.message);
  throw WithTask<E>(E(record.message + " (" + Where(record) + ")"), InfoOf(record));
}
template <class E>
constexpr RuntimeKind Kind(std::string_view name) {
  return {name, &IsInFlight<E>, &RaiseKind<E>};
}
constexpr std::array kRuntimeKinds = {
    Kind<TimeoutError>("TimeoutError"),
    Kind<ObjectLostError>("ObjectLostError"),
    Kind<PoolLostError>("PoolLostError"),
    Kind<OutOfMemoryError>("OutOfMemoryError"),
    Kind<TypeMismatchError>("TypeMismatchError"),
    Kind<FunctionNotFoundError>("FunctionNotFoundError"),
    Kind<InfeasibleError>("InfeasibleError"),
    Kind<LimitError>("LimitError"),
    Kind<WorkerDiedError>("WorkerDiedError"),
    Kind<InitError>("InitError"),
    Kind<FormatError>("FormatError"),
};

// What the exception in flight says of itself.
std::string MessageInFlight() {
  try {
    throw;
  } catch (const std::exception& error) {
    return error.what();
  } catch (const std::string& text) {
    return text;
  } catch (const char* text) {
    return text;
  } catch (...) {
    return {};
  }
}
std::optional<TaskInfo> InfoInFlight() {
  try {
    throw;
  } catch (const TaskInfo& info) {
    return info;
  } catch (...) {
    return std::nullopt;
  }
}
// A TimeoutError that a task let pass was a wait of its own: to whoever gets the task's result it
// is the task's exception, not the end of his wait. All others mean the same to both.
std::string_view RuntimeKindInFlight() {
  for (const RuntimeKind& kind : kRuntimeKinds) {
    if (kind.name != "TimeoutError" && kind.is_in_flight()) return kind.name;
  }
  return kTaskError;
}

void EncodeInFlight(const TaskIdentity& task, Encoder& out) {
  ErrorRecord record;
  const std::type_info* const thrown = abi::__cxa_current_exception_type();
  record.number = thrown ? NumberOf(*thrown) : kUnregistered;
  if (const std::optional<TaskInfo> earlier = InfoInFlight()) {
    // It came out of a Get: what failed first is what people look for.
    record.task = earlier->task;
    record.attempt = earlier->attempt;
    record.type = earlier->type;
    record.message = earlier->message;
    record.via = "'" + task.task + "'";
  } else {
    record.task = task.task;
    record.attempt = task.attempt;
    record.type = thrown ? ReadableType(thrown->name()) : "an exception of another language";
    record.message = MessageInFlight();
  }
  if (record.number == kUnregistered) {
    record.kind = RuntimeKindInFlight();
    WriteRecord(out, record);
    return;
  }
  const ErrorType registered = TypeAt(record.number);
  record.mangled = registered.thrown->name();
  WriteRecord(out, record);
  registered.write(out);
}

}  // namespace

void RegisterErrorType(const ErrorType& type) {
  ErrorTypes& types = TheErrorTypes();
  const std::lock_guard lock(types.mutex);
  types.types.push_back(type);
}

void EncodeException(const TaskIdentity& task, Encoder& out) noexcept {
  out.Clear();
  try {
    EncodeInFlight(task, out);
    return;
  } catch (...) {
  }
  // The exception could not be stored: say at least where it was. Fits the encoder without an allocation.
  out.Clear();
  const std::string_view name = std::string_view(task.task).substr(0, 64);
  WriteRaw(out, kVersion);
  WriteText(out, kTaskError);
  WriteText(out, name);
  WriteRaw<std::int32_t>(out, task.attempt);
  WriteRaw(out, kUnregistered);
  WriteText(out, "unknown");
  WriteText(out, "");
  WriteText(out, "the exception itself could not be stored");
  WriteText(out, "");
}

void EncodeRuntimeError(std::string_view kind, std::string_view message, const TaskIdentity& task, Encoder& out) {
  ErrorRecord record;
  record.kind = kind;
  record.task = task.task;
  record.attempt = task.attempt;
  record.type = "sheaf::" + std::string(kind);
  record.message = message;
  out.Clear();
  WriteRecord(out, record);
}

std::string DescribeError(const Stored& stored) {
  try {
    Decoder from(stored.payload, stored.pin);
    const ErrorRecord record = ReadRecord(from);
    return record.task.empty() ? record.message : record.message + " (" + Where(record) + ")";
  } catch (const std::exception& error) {
    return error.what();
  }
}

void ThrowStored(std::span<const std::byte> payload) { ThrowError({payload, {}, kWhole, true}); }

void ThrowError(const Stored& stored) {
  Decoder from(stored.payload, stored.pin);
  const ErrorRecord record = ReadRecord(from);
  if (!record.mangled.empty()) {
    if (const std::optional<ErrorType> type = FindErrorType(record.number, record.mangled)) {
      type->raise(from, InfoOf(record));
    }
  }
  for (const RuntimeKind& kind : kRuntimeKinds) {
    if (kind.name == record.kind) kind.raise(record);
  }
  throw TaskError(
      Where(record) + " threw " + record.type + (record.message.empty() ? std::string() : ": " + record.message),
      InfoOf(record));
}

void ThrowDamaged(const char* what) { throw FormatError(std::string("the stored bytes are damaged: ") + what); }

void ThrowNewerVersion(const std::type_info& type, std::uint32_t version, std::uint32_t known) {
  throw FormatError("a " + ReadableType(type.name()) + " was written as version " + std::to_string(version) +
                    ", but this program reads up to version " + std::to_string(known) +
                    "; rebuild it from the newer source");
}

void ThrowEmptyRef() {
  throw Error(
      "this ObjectRef is empty: it was default constructed or moved from, so there is nothing to "
      "wait for or to send");
}

void ThrowNestedElement() {
  throw Error(
      "an element of a tuple inside a tuple has no ref of its own; Get() the outer element first, "
      "or "
      "return one flat tuple");
}

void ThrowArrayTooLarge(std::size_t count, std::size_t size) {
  throw OutOfMemoryError("an array of " + std::to_string(count) + " elements of " + std::to_string(size) +
                         " bytes is larger than memory");
}

void ThrowOutOfRange(std::size_t begin, std::size_t end, std::size_t size) {
  throw Error("the range [" + std::to_string(begin) + ", " + std::to_string(end) + ") is not inside an array of " +
              std::to_string(size) + " elements");
}

}  // namespace sheaf::detail

// What can go wrong, as types. Everything that Sheaf throws derives from sheaf::Error.
//
// An exception of a task reaches Get() as the type it was thrown as, mixed with TaskInfo, where
// that type was given to RegisterErrors (sheaf/register_errors.h), and as TaskError otherwise.
// Errors of the runtime that befell a task carry a TaskInfo too: catch (const sheaf::TaskInfo&)
// sees all that concern one.
//
// Standard library only: users compile this file.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace sheaf {

class Error : public std::runtime_error {
 public:
  using runtime_error::runtime_error;
};

// Which task failed, and how. Not derived from std::exception, so that a type mixed with it has one std base.
struct TaskInfo {
  std::string task;     // its name
  std::string type;     // of the exception, readable
  std::string message;  // what() of the exception
  int attempt = 1;      // the attempt that failed, from 1
};

// A task threw something that is not registered.
class TaskError : public Error, public TaskInfo {
 public:
  TaskError(const std::string& what, TaskInfo info) : Error(what), TaskInfo(std::move(info)) {}
};

// A wait, or a task's deadline, ran out.
class TimeoutError : public Error {
 public:
  using Error::Error;
};
// The object's bytes are gone and cannot be made again.
class ObjectLostError : public Error {
 public:
  using Error::Error;
};
// The pool that this process was attached to is gone.
class PoolLostError : public Error {
 public:
  using Error::Error;
};
// The store's budget is spent, or an object is larger than it.
class OutOfMemoryError : public Error {
 public:
  using Error::Error;
};
// A value or a function is not of the type that it is used as; names both.
class TypeMismatchError : public Error {
 public:
  using Error::Error;
};
// The worker's program does not contain the function; names the nearest ones.
class FunctionNotFoundError : public Error {
 public:
  using Error::Error;
};
// No machine of the pool can ever give what the task asks for.
class InfeasibleError : public Error {
 public:
  using Error::Error;
};
// A bound of the runtime is reached and nothing can go on: as many workers as there may be, all with tasks that wait.
class LimitError : public Error {
 public:
  using Error::Error;
};
// The task's worker died, and its retries are spent.
class WorkerDiedError : public Error {
 public:
  using Error::Error;
};
// Init() could not attach to a pool or start one.
class InitError : public Error {
 public:
  using Error::Error;
};
// Stored bytes are damaged, or written by a newer version of a type.
class FormatError : public Error {
 public:
  using Error::Error;
};

}  // namespace sheaf

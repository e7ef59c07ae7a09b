// What must not compile, and what the compiler must say. check.py builds each case alone, with -DCASE_<name>, and
// looks for the line after "says:" (a regular expression) among the compiler's errors and notes. With no case
// defined the file compiles: so each failure is the case's own.
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sheaf/sheaf.h"

struct Base {
  int a = 0;
};
struct Derived : Base {
  int b = 0;
};
struct Shape {
  virtual ~Shape() = default;
};
class Closed {
 public:
  explicit Closed(int value) : value_(value) {}
  int value() const { return value_; }

 private:
  int value_;
};
struct WithPointer {
  int* where;
};
struct WithView {
  int count;
  std::string_view text;
};
struct WithCArray {
  std::string name;
  int values[4];
};
struct TooWide {
  std::string a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16;
  int b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, b13, b14, b15;
};
struct Machine {
  int Run(int n) { return n; }
};

int Add(int a, int b) { return a + b; }
int Length(const std::string& text) { return static_cast<int>(text.size()); }
int WithDefault(int a, int b = 2) { return a + b; }
int TakeBase(const Base& base) { return base.a; }
int Sum(std::span<const int> values) { return static_cast<int>(values.size()); }
int TakeOwner(std::unique_ptr<int> owner) { return *owner; }
int Overloaded(int n) { return n; }
int Overloaded(double) { return 0; }

int main() {
  using sheaf::Array;
  using sheaf::ObjectRef;
  using sheaf::Put;
  using sheaf::Remote;
  sheaf::Init();

  // Parameters
#ifdef CASE_PARAMETER_REFERENCE  // says: a task cannot take T&: it would change a copy
  Remote<[](int& n) { ++n; }>(1);
#endif
#ifdef CASE_PARAMETER_POINTER  // says: a task cannot take a pointer
  Remote<[](const int* n) { return *n; }>(nullptr);
#endif
#ifdef CASE_PARAMETER_MUTABLE_SPAN  // says: take std::span<const T>
  std::vector<int> values;
  Remote<[](std::span<int> out) { out[0] = 1; }>(values);
#endif
#ifdef CASE_PARAMETER_FIXED_SPAN  // says: spans without a fixed size only
  std::array<int, 3> values{};
  Remote<[](std::span<const int, 3> in) { return in[0]; }>(values);
#endif
#ifdef CASE_PARAMETER_FUNCTION  // says: this type cannot be sent as it is
  Remote<[](const std::function<void()>& f) { f(); }>(std::function<void()>());
#endif
#ifdef CASE_PARAMETER_CLOSED_CLASS  // says: this type cannot be sent as it is; give it: static auto Fields
  Remote<[](const Closed& c) { return c.value(); }>(Closed(1));
#endif

  // Results
#ifdef CASE_RESULT_POINTER  // says: a task cannot return a pointer
  Remote<[](int) -> const char* { return ""; }>(1);
#endif
#ifdef CASE_RESULT_VIEW  // says: a task cannot return a view
  Remote<[](std::string_view text) { return text; }>("x");
#endif
#ifdef CASE_RESULT_SPAN  // says: a task cannot return a view
  Remote<[](std::span<const int> in) { return in; }>({1, 2});
#endif

  // Arguments
#ifdef CASE_ARGUMENT_OF_WRONG_TYPE  // says: (from '?int'? to '?sheaf::Arg<std::.*string)|(no known conversion from 'int' to 'Arg<.*string)
  Remote<Length>(5);
#endif
#ifdef CASE_ARGUMENT_REF_OF_WRONG_TYPE  // says: (from '.*ObjectRef<.*string.*>' to '.*Arg<int>')
  Remote<Add>(Put(std::string("x")), 1);
#endif
#ifdef CASE_ARGUMENT_SLICED  // says: from '.*Derived' to '.*Arg<Base>'
  Remote<TakeBase>(Derived());
#endif
#ifdef CASE_ARGUMENT_MISSING  // says: needs every argument: default arguments of F are not seen
  Remote<WithDefault>(1);
#endif
#ifdef CASE_ARGUMENT_TOO_MANY  // says: expects 2 arguments, 3 provided|requires 2 arguments, but 3 were provided
  Remote<Add>(1, 2, 3);
#endif
#ifdef CASE_ARGUMENT_MOVE_ONLY_NOT_MOVED  // says: from .*unique_ptr.* to '.*Arg<.*unique_ptr<int
  auto owner = std::make_unique<int>(1);
  Remote<TakeOwner>(owner);
#endif

  // Functions
#ifdef CASE_FUNCTION_OVERLOADED  // says: unresolved overloaded function|unable to deduce .?auto|overloaded function
  Remote<Overloaded>(1);
#endif
#ifdef CASE_FUNCTION_GENERIC_LAMBDA  // says: captureless lambda that is not generic
  Remote<[](auto n) { return n; }>(1);
#endif
#ifdef CASE_FUNCTION_WITH_CAPTURE  // says: not a structural type|non-structural|not usable in a constant|not a constant|cannot be used as a non-type|private|non-public
  int n = 1;
  auto add = [n](int m) { return n + m; };
  Remote<add>(1);
#endif
#ifdef CASE_FUNCTION_MEMBER  // says: takes no member functions
  Remote<&Machine::Run>(Machine(), 1);
#endif
#ifdef CASE_WORKER_START_WITH_RESULT  // says: OnWorkerStart<F> needs a function that returns void
  sheaf::OnWorkerStart<Add>(1, 2);
#endif

  // Values
#ifdef CASE_VALUE_WITH_POINTER  // says: a pointer means nothing in another process
  int n = 0;
  Put(WithPointer{&n});
#endif
#ifdef CASE_VALUE_WITH_VIEW  // says: a view cannot be stored or returned
  Put(WithView{1, "x"});
#endif
#ifdef CASE_VALUE_WITH_C_ARRAY  // says: has a base class, a C array or more than 32 fields
  Put(WithCArray());
#endif
#ifdef CASE_VALUE_WITH_BASE  // says: has a base class, a C array or more than 32 fields
  Put(Derived());
#endif
#ifdef CASE_VALUE_TOO_WIDE  // says: has a base class, a C array or more than 32 fields
  Put(TooWide());
#endif
#ifdef CASE_VALUE_POLYMORPHIC_OWNER  // says: would lose the derived part
  Put(std::unique_ptr<Shape>());
#endif
#ifdef CASE_VALUE_IS_A_REF  // says: this is a ref already
  Put(Put(1));
#endif

  // Handles and views
#ifdef CASE_SPAN_OF_A_TEMPORARY  // says: deleted (member )?function
  std::span<const int> values = Put(std::vector<int>(9)).As<Array<int>>().Get().span();
#endif
#ifdef CASE_SPAN_CONVERTED_FROM_A_TEMPORARY  // says: deleted
  std::span<const int> values = Put(std::vector<int>(9)).As<Array<int>>().Get();
#endif
#ifdef CASE_DATA_OF_A_TEMPORARY  // says: deleted (member )?function
  const int* data = sheaf::ArrayBuilder<int>(3).Seal().data();
#endif
#ifdef CASE_LOOP_OVER_AN_ARRAY  // says: 'begin'
  for (int n : sheaf::ArrayBuilder<int>(3).Seal()) (void)n;
#endif
#ifdef CASE_ARRAY_OF_STRINGS  // says: Array<T> holds plain values only
  Array<std::string> words;
#endif
#ifdef CASE_SEAL_WITHOUT_MOVE  // says: as 'this' argument discards qualifiers|is an lvalue
  sheaf::ArrayBuilder<int> builder(3);
  builder.Seal();
#endif
#ifdef CASE_REF_AS_ANOTHER_FORM  // says: needs a type with the same stored form
  Put(1).As<std::string>();
#endif

  // Errors
#ifdef CASE_ERROR_NOT_A_CLASS  // says: needs classes that are not final
  sheaf::RegisterErrors<int>();
#endif
}

// Descriptors 0 to 2, before any other is opened. At the start of a program, with one thread.
#pragma once

namespace sheaf {

// Those that are closed lead nowhere from now on. Else the next socket would get such a number, and whatever prints would write into it.
void OpenStandardStreams();

}  // namespace sheaf

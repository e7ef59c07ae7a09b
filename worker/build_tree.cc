// Where the build tree has the `sheaf` executable, for programs that are built with Sheaf as a subproject. Not part of what
// is installed: runtime/embedded_pool.cc does without it there.

namespace sheaf {

extern "C" const char sheaf_build_tree_executable[];
extern "C" const char sheaf_build_tree_executable[] = SHEAF_BUILD_TREE_EXECUTABLE;

}  // namespace sheaf

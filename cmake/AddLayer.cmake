# Floors of the house. A library may depend on lower floors only: never up, never sideways. Halves are for the shell
# of a core in the same folder: it stands on its core, and nothing else of its own floor.
#
#   add_layer(<name> SRCS ... LAYERS <libraries of lower floors> LIBS <third-party targets> [GRPC])
#
# 1. An upward or sideways dependency stops the configuration.
# 2. <name>_link_test is an empty main with the whole archive of <name>: it fails to link if the library calls
#    something that it did not declare.
# 3. gRPC reaches a library only if it says GRPC, and nothing that a worker process links may say so.
set(FLOOR_sheaf_base 0)
set(FLOOR_sheaf_wire 1)           # proto/*.h, fixed layouts; headers only
set(FLOOR_sheaf_proto 1)          # proto/*.proto, generated
set(FLOOR_sheaf_lease 2)          # scheduler/: the cores, no gRPC
set(FLOOR_sheaf_ticket 2)         # scheduler/: certificates, tokens and tickets; OpenSSL
set(FLOOR_sheaf_scheduler 2.5)    # scheduler/: the daemon around them
set(FLOOR_sheaf_object_store 2)
set(FLOOR_sheaf_runtime 3)
set(FLOOR_sheaf_executor 4)       # worker/: the worker process
set(FLOOR_sheaf_link 4)           # worker/: a pool's line to its scheduler
set(FLOOR_sheaf_relay 4.5)        # worker/relay/: tasks and objects on their way between two pools
set(FLOOR_sheaf_pool 4.5)         # worker/: pool and supervisor
set(FLOOR_sheaf_ml_math 4.5)      # ml/: arithmetic without a runtime
set(FLOOR_sheaf_ml 5)

set_property(GLOBAL PROPERTY SHEAF_GRPC_LAYERS sheaf_proto)

function(add_layer name)
  cmake_parse_arguments(ARG "GRPC" "" "SRCS;LAYERS;LIBS" ${ARGN})
  if(ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "add_layer(${name}): what is '${ARG_UNPARSED_ARGUMENTS}'?")
  endif()
  if(NOT DEFINED FLOOR_${name})
    message(FATAL_ERROR "${name} has no floor: give it one in cmake/AddLayer.cmake")
  endif()
  get_property(grpc_layers GLOBAL PROPERTY SHEAF_GRPC_LAYERS)
  foreach(lower IN LISTS ARG_LAYERS)
    if(NOT DEFINED FLOOR_${lower})
      message(FATAL_ERROR "${name} depends on ${lower}, which is no layer: third-party targets go to LIBS")
    endif()
    if(NOT FLOOR_${lower} LESS FLOOR_${name})
      message(FATAL_ERROR "${name} may not depend on ${lower}: dependencies point down only")
    endif()
    if(lower IN_LIST grpc_layers AND NOT ARG_GRPC)
      message(FATAL_ERROR "${name} reaches gRPC through ${lower}; only a daemon's library may, and it says GRPC")
    endif()
  endforeach()
  foreach(library IN LISTS ARG_LIBS)
    if(library MATCHES "^sheaf")
      message(FATAL_ERROR "${name}: ${library} is ours, name it under LAYERS so that its floor is checked")
    endif()
    if(library MATCHES "[gG][rR][pP][cC]|protobuf" AND NOT ARG_GRPC)
      message(FATAL_ERROR "${name} links ${library}; only a daemon's library may, and it says GRPC")
    endif()
  endforeach()
  if(ARG_GRPC)
    if(name MATCHES "base|wire|lease|object_store|runtime|executor|ml")
      message(FATAL_ERROR "${name} is linked by worker processes or cores and may not reach gRPC")
    endif()
    set_property(GLOBAL APPEND PROPERTY SHEAF_GRPC_LAYERS ${name})
  endif()

  add_library(${name} STATIC ${ARG_SRCS})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${ARG_LAYERS} ${ARG_LIBS})
  target_compile_options(${name} PRIVATE ${SHEAF_WARNINGS})
  if(SHEAF_TESTS)
    add_executable(${name}_link_test ${PROJECT_SOURCE_DIR}/cmake/link_test_main.cc)
    target_link_libraries(${name}_link_test PRIVATE "$<LINK_LIBRARY:WHOLE_ARCHIVE,${name}>")
    add_test(NAME ${name}_links_alone COMMAND ${name}_link_test)
  endif()
endfunction()

# What a program gets that is built with Sheaf as a subproject: the `sheaf` executable is built with it, and found although
# the program lies elsewhere and neither PATH nor SHEAF_BIN names it.
#   cmake -DPROGRAM=... -DTARGET=... -DBUILD=... -DNINJA=... -P own_program.cmake
if(NINJA)
  execute_process(COMMAND ${NINJA} -C ${BUILD} -t inputs ${TARGET} OUTPUT_VARIABLE inputs COMMAND_ERROR_IS_FATAL ANY)
  if(NOT inputs MATCHES "\ncli/sheaf\n")
    message(FATAL_ERROR "building ${TARGET} does not build cli/sheaf")
  endif()
endif()
set(elsewhere ${BUILD}/own_program_elsewhere/a/b/c/d/e)  # further than it looks upward
file(REMOVE_RECURSE ${elsewhere})
file(COPY ${PROGRAM} DESTINATION ${elsewhere})
get_filename_component(name ${PROGRAM} NAME)
execute_process(COMMAND ${CMAKE_COMMAND} -E env --unset=SHEAF_BIN --unset=SHEAF_ADDRESS PATH= ${elsewhere}/${name}
  OUTPUT_VARIABLE said COMMAND_ERROR_IS_FATAL ANY TIMEOUT 60)
file(REMOVE_RECURSE ${BUILD}/own_program_elsewhere)
if(NOT said MATCHES "hello world")
  message(FATAL_ERROR "${name} said: ${said}")
endif()

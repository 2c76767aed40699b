# How a folder of src/ becomes a library and its *_test.cc files become tests.

add_compile_options(-Wall -Wextra -Wpedantic -Wno-missing-field-initializers -Wshadow -fno-math-errno -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-Wno-restrict)  # gcc 12 sees overlaps in std::string that are not there
endif()
if(ATTUNE_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)  # coverage of the libraries, not of the entry point alone
endif()
if(ATTUNE_SANITIZE)
  add_compile_options(-fsanitize=${ATTUNE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${ATTUNE_SANITIZE})
endif()

# attune_library(NAME [DEPS lib ...]): every .cc of the folder but its tests becomes attune_NAME;
# every *_test.cc becomes a test executable NAME_FILE that links it.
function(attune_library name)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS *.cc cpu/*.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  if(sources)
    add_library(attune_${name} STATIC ${sources})
    set(scope PUBLIC)
  else()  # headers only
    add_library(attune_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(attune_${name} ${scope} ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(attune_${name} ${scope} ${ARG_DEPS})
  if(ATTUNE_TESTS AND NOT ATTUNE_FUZZ)
    foreach(test ${tests})
      get_filename_component(stem ${test} NAME_WE)
      attune_test(${stem} ${test} DEPS attune_${name})
    endforeach()
  endif()
endfunction()

# attune_test(NAME SOURCE DEPS lib ...): one GoogleTest executable under build/tests-bin, run from ctest.
# ATTUNE_TEST_DATA is the absolute path of tests/data.
function(attune_test name source)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE
    ATTUNE_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data" ATTUNE_BINARY_DIR="${PROJECT_BINARY_DIR}")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests-bin)
  add_test(NAME ${name} COMMAND ${name})
  # As the program sets for itself (src/cli/program/main.cc): several tests run at once. And trainings of tests are no
  # runs that their user wants to see listed.
  set_tests_properties(${name} PROPERTIES
    ENVIRONMENT "GOMP_SPINCOUNT=1000;ATTUNE_RUNS=${PROJECT_BINARY_DIR}/tests-bin/runs.sqlite")
endfunction()

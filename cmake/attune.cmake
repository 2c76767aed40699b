# How a folder of src/ becomes a library and its *_test.cc files become tests.

add_compile_options(-Wall -Wextra -Wpedantic -Wno-missing-field-initializers -Wshadow -fno-math-errno -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-Wno-restrict -Wno-stringop-overflow -Wno-array-bounds)  # gcc 12 sees what is not there in std::string
  # The compiler collects its garbage from 1 GiB on, which hardly any file reaches: a twelfth of its time.
  add_compile_options("SHELL:--param ggc-min-heapsize=1048576")
endif()
if(ATTUNE_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)  # coverage of the libraries, not of the entry point alone
endif()
if(ATTUNE_SANITIZE)
  add_compile_options(-fsanitize=${ATTUNE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${ATTUNE_SANITIZE})
endif()

# Files whose loops Highway compiles for several kinds of processors: AVX2 is the floor of the program (checked at start,
# cli/commands.cc), and an AVX-512 copy of each is picked at run time.
set(attune_simd_options "-O3;-mavx2;-mfma;-mf16c;-mbmi;-mbmi2;-mlzcnt;-maes;-mpclmul;-DHWY_DISABLED_TARGETS=HWY_AVX3_DL;-Wno-pedantic;-Wno-shadow")

# For code without a hot loop: -Og takes up to a third less time than -O2; -O0 no less, as it compiles every inline function.
# With -Og gcc 12 sees members without a value that have one.
set(attune_cold_options $<$<CONFIG:Release>:-Og> $<$<CONFIG:Release>:-Wno-maybe-uninitialized>)

# Reading the headers of JSON, fmt and GoogleTest takes longer than compiling our own code, so they are read once: a build
# of the whole tree took 10:25 of two cores with nothing but these, and half of that with several files compiled as one.
#   attune_pch       for the libraries
#   attune_cold_pch  for what is COLD: gcc 12 goes by the options that the headers were compiled with
#   attune_test_pch  for the tests
option(ATTUNE_PCH "Precompile the large headers; the presets do" OFF)
if(ATTUNE_PCH AND NOT ATTUNE_FUZZ)
  file(WRITE ${PROJECT_BINARY_DIR}/pch.cc "// Has to exist for CMake to make a precompiled header.\n")
  set(attune_headers <algorithm> <cstdint> <filesystem> <functional> <map> <memory> <optional> <span> <string>
      <unordered_map> <vector> <fmt/format.h> <fmt/ranges.h> <nlohmann/json.hpp>)
  foreach(pch attune_pch attune_cold_pch)
    add_library(${pch} OBJECT ${PROJECT_BINARY_DIR}/pch.cc)
    target_link_libraries(${pch} PRIVATE fmt::fmt)
    target_precompile_headers(${pch} PRIVATE ${attune_headers})
  endforeach()
  target_compile_options(attune_cold_pch PRIVATE ${attune_cold_options})
  if(ATTUNE_TESTS)
    add_library(attune_test_pch OBJECT ${PROJECT_BINARY_DIR}/pch.cc)
    target_link_libraries(attune_test_pch PRIVATE fmt::fmt GTest::gtest_main)
    target_compile_options(attune_test_pch PRIVATE $<$<CONFIG:Release>:-O0>)
    target_precompile_headers(attune_test_pch PRIVATE ${attune_headers} <gtest/gtest.h>)
  endif()
endif()

# attune_library(NAME [COLD] [HOT_FILES file ...] [DEPS lib ...] [SHARDS n]): every .cc of the folder but its tests becomes
# attune_NAME, its *_test.cc files the test executable NAME_test. COLD: none of its loops is hot but those of HOT_FILES
# (attune_NAME_hot, a part of attune_NAME), so it is compiled with the least effort.
# The presets compile several files as one (CMAKE_UNITY_BUILD), so names in unnamed namespaces are unlike within a folder;
# to work on one file, configure without a preset.
function(attune_library name)
  cmake_parse_arguments(ARG "COLD" "SHARDS" "DEPS;HOT_FILES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} *.cc cpu/*.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  if(sources)
    list(REMOVE_ITEM sources ${ARG_HOT_FILES})
    add_library(attune_${name} STATIC ${sources})
    set(scope PUBLIC)
  else()  # headers only
    add_library(attune_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(attune_${name} ${scope} ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(attune_${name} ${scope} ${ARG_DEPS})
  set(pch attune_pch)
  if(ARG_COLD)
    target_compile_options(attune_${name} PRIVATE ${attune_cold_options})
    set(pch attune_cold_pch)
  endif()
  if(TARGET ${pch} AND sources)
    target_precompile_headers(attune_${name} REUSE_FROM ${pch})
  endif()
  if(ARG_HOT_FILES)
    add_library(attune_${name}_hot OBJECT ${ARG_HOT_FILES})
    target_include_directories(attune_${name}_hot PRIVATE ${PROJECT_SOURCE_DIR}/src)
    target_link_libraries(attune_${name}_hot PRIVATE ${ARG_DEPS})
    target_sources(attune_${name} PRIVATE $<TARGET_OBJECTS:attune_${name}_hot>)
    if(TARGET attune_pch)
      target_precompile_headers(attune_${name}_hot REUSE_FROM attune_pch)
    endif()
  endif()
  if(ATTUNE_TESTS AND NOT ATTUNE_FUZZ AND tests)
    attune_test(${name}_test ${tests} DEPS attune_${name} SHARDS ${ARG_SHARDS})
  endif()
endfunction()

# attune_test(NAME SOURCE... DEPS lib ... [SHARDS n]): one GoogleTest executable under build/tests-bin, run from ctest, in
# n processes where that is said. ATTUNE_TEST_DATA is the absolute path of tests/data.
function(attune_test name)
  cmake_parse_arguments(ARG "" "SHARDS" "DEPS" ${ARGN})
  add_executable(${name} ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gtest_main)
  if(TARGET attune_test_pch)
    target_precompile_headers(${name} REUSE_FROM attune_test_pch)
  endif()
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O0>)  # a test is compiled for longer than it runs
  target_compile_definitions(${name} PRIVATE
    ATTUNE_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data" ATTUNE_BINARY_DIR="${PROJECT_BINARY_DIR}")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests-bin)
  # As the program sets for itself (src/cli/program/main.cc): several tests run at once. And trainings of tests are no
  # runs that their user wants to see listed, nor their rates those of the machine. What they write goes to a folder that
  # the last of them takes away (tests/CMakeLists.txt).
  set(environment "GOMP_SPINCOUNT=1000;ATTUNE_RUNS=${PROJECT_BINARY_DIR}/tests-bin/runs.sqlite"
      "XDG_CACHE_HOME=${PROJECT_BINARY_DIR}/tests-bin/cache"
      "TMPDIR=${PROJECT_BINARY_DIR}/tests-bin/tmp;TEST_TMPDIR=${PROJECT_BINARY_DIR}/tests-bin/tmp")
  if(ARG_SHARDS)
    foreach(shard RANGE 1 ${ARG_SHARDS})
      math(EXPR index "${shard} - 1")
      add_test(NAME ${name}_${shard} COMMAND ${name})
      set_tests_properties(${name}_${shard} PROPERTIES FIXTURES_REQUIRED test_folder
        ENVIRONMENT "${environment};GTEST_TOTAL_SHARDS=${ARG_SHARDS};GTEST_SHARD_INDEX=${index}")
    endforeach()
  else()
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES FIXTURES_REQUIRED test_folder ENVIRONMENT "${environment}")
  endif()
endfunction()

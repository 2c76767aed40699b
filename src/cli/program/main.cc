// The program: checks the processor, then hands over to the commands.
#include "cli/commands.h"

int main(int argc, char** argv) { return attune::RunCommandLine(argc, argv); }

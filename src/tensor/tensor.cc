#include "tensor/matrix.h"

#include "failure.h"

#include <stdexcept>
#include <string>

namespace ddetr {

void fail(const char* what, const char* why) {
  throw std::runtime_error(std::string(what) + ": " + why);
}

}  // namespace ddetr

// Loads an AOTInductor package, runs it on a saved tensor, and saves the output.
//
//   run_package model.pt2 input.pt output.pt
//
// input.pt is what torch.save(tensor, "input.pt") wrote; torch.load reads output.pt.
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <sstream>

#include "command.h"

// A package does not look at its inputs: of another size, they give wrong numbers and no error.
void require_signature(const std::string& wanted, const at::Tensor& batch) {
  std::ostringstream given;
  given << batch.scalar_type() << batch.sizes().slice(1);
  if (given.str() == wanted) return;
  throw std::runtime_error("compiled for " + wanted + " after the batch, got " + given.str());
}

at::Tensor run(const std::string& model, const at::Tensor& batch) {
  torch::NoGradGuard no_grad;
  torch::inductor::AOTIModelPackageLoader loader(model);
  require_signature(loader.get_metadata()["inputs"], batch);  // as compile_package notes it
  return loader.run({batch.contiguous()}).at(0);
}

int main(int argc, char** argv) { return command("run_package", argc, argv, run); }

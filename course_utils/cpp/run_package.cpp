// Loads an AOTInductor package, runs it on a saved tensor, and saves the output.
//
//   run_package model.pt2 input.pt output.pt
//
// input.pt is what torch.save(tensor, "input.pt") wrote; torch.load reads output.pt.
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include "command.h"

at::Tensor run(const std::string& model, const at::Tensor& batch) {
  torch::NoGradGuard no_grad;
  torch::inductor::AOTIModelPackageLoader loader(model);
  return loader.run({batch}).at(0);
}

int main(int argc, char** argv) { return command("run_package", argc, argv, run); }

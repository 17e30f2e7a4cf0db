// Loads a TorchScript module, runs it on a saved tensor, and saves the output.
//
//   run_module model.pt input.pt output.pt
//
// input.pt is what torch.save(tensor, "input.pt") wrote; torch.load reads output.pt.
#include "command.h"

at::Tensor run(const std::string& model, const at::Tensor& batch) {
  torch::NoGradGuard no_grad;
  torch::jit::Module module = torch::jit::load(model, torch::kCPU);
  module.eval();
  return module.forward({batch}).toTensor();
}

int main(int argc, char** argv) { return command("run_module", argc, argv, run); }
